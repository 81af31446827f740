//! Windows: who may read a file follows from its folder, and a folder can be neither opened nor
//! locked as a file.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::{self, Path};
use tempfile::Builder;

/// What is locked in place of a folder is the file beside it with this at the end of its name.
const LOCK: &str = ".lock";
/// Windows removes the file once nobody has it open any more, also after a process was killed.
const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;

pub fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub fn set_usual_permissions(_builder: &mut Builder<'_, '_>) {}

pub fn open_to_lock(path: &Path) -> io::Result<File> {
    if !path.is_dir() {
        return File::open(path);
    }
    // Not in the folder: that could not be removed while the file is open.
    let mut beside = path::absolute(path)?.into_os_string();
    beside.push(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
    options.open(beside)
}

pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub fn make_private_file(path: &Path) -> io::Result<File> {
    File::create(path)
}

// The names of devices, such as `CON`, stand for no files here.
pub fn is_device(_kind: FileType) -> bool {
    false
}
