//! What systems do differently with files and folders.

#[cfg_attr(unix, path = "system/unix.rs")]
#[cfg_attr(windows, path = "system/windows.rs")]
mod own;

use std::fs::{File, FileType};
use std::io;
use std::path::Path;
use tempfile::Builder;

/// Fills a buffer from an offset on.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    own::read_exact_at(file, buffer, offset)
}

/// Lets a temporary file have the permissions of any other new file.
pub(crate) fn set_usual_permissions(builder: &mut Builder<'_, '_>) {
    own::set_usual_permissions(builder);
}

/// Opens what stands for a file or a folder when processes lock it.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    own::open_to_lock(path)
}

/// Makes a folder, and those above it, for its owner alone; one that is there stays as it is.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    own::make_private_folder(path)
}

/// Makes a file for its owner alone, or empties one that is there.
pub fn make_private_file(path: &Path) -> io::Result<File> {
    own::make_private_file(path)
}

/// Whether it is a device, which may have no end.
pub fn is_device(kind: FileType) -> bool {
    own::is_device(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, TryLockError};
    use std::io::Write;

    #[test]
    fn parts_of_a_file_are_read_where_they_are() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut part = [0; 4];
        for (offset, expected) in [(6, b"6789"), (0, b"0123"), (3, b"3456")] {
            read_exact_at(&file, &mut part, offset).unwrap();
            assert_eq!(&part, expected);
        }
        let error = read_exact_at(&file, &mut part, 7).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn files_and_folders_are_locked_once_and_can_be_removed_then() {
        let home = tempfile::tempdir().unwrap();
        let (folder, file) = (home.path().join("folder"), home.path().join("file"));
        make_private_folder(&folder.join("below")).unwrap();
        make_private_file(&file).unwrap().write_all(b"x").unwrap();
        assert!(make_private_file(&file).unwrap().metadata().unwrap().len() == 0);
        for path in [&folder, &file] {
            let held = open_to_lock(path).unwrap();
            held.try_lock().unwrap();
            let second = open_to_lock(path).unwrap();
            assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
            drop(held);
            second.try_lock().unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
        assert!(!is_device(file.metadata().unwrap().file_type()));
    }
}
