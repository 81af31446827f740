//! The stand-in for NVIDIA's driver library, opened in this process as `libcuda.so` would be.

use serde_json::Value;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Where Cargo has put the library: beside the test program.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().join("libkinglet_stand_in.so");
    assert!(path.exists(), "{} is not there: cargo builds it with the tests", path.display());
    path
}

/// A copy of the library in a folder, under the driver's name, that lacks one of its functions.
pub fn library_without(function: &str, folder: &Path) -> PathBuf {
    // Programs find a function by its name in the table of strings, where zeros surround it.
    let sought = format!("\0{function}\0").into_bytes();
    let mut bytes = fs::read(library()).unwrap();
    let places: Vec<usize> = bytes
        .windows(sought.len())
        .enumerate()
        .filter_map(|(at, found)| (found == sought).then_some(at))
        .collect();
    assert!(!places.is_empty(), "the stand-in has no {function}");
    for at in places {
        bytes[at + 1] = b'-';
    }
    let path = folder.join("libcuda.so.1");
    fs::write(&path, bytes).unwrap();
    path
}

/// The stand-in, which one test at a time has.
#[derive(Debug)]
pub struct StandIn {
    library: &'static Library,
    _alone: MutexGuard<'static, ()>,
}

#[derive(Debug)]
struct Library(*mut c_void);

// SAFETY: the handle is only given to `dlsym`, which any thread may call.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl StandIn {
    /// The library, with nothing taken and nothing counted. Other tests wait until it is dropped.
    pub fn take() -> Self {
        let stand_in = Self::open(&library());
        stand_in.reset();
        stand_in
    }

    /// The library at a path, as it is. A process stays with the first one that it opens.
    pub fn open(path: &Path) -> Self {
        static OPENED: OnceLock<Library> = OnceLock::new();
        static USED: Mutex<()> = Mutex::new(());
        let alone = USED.lock().unwrap_or_else(PoisonError::into_inner);
        Self { library: OPENED.get_or_init(|| Library::open(path)), _alone: alone }
    }

    /// Begins again, as a process does whose driver has been initialized.
    pub fn reset(&self) {
        self.function::<extern "C" fn()>(c"kinglet_stand_in_reset")();
        let status = self.function::<extern "C" fn(u32) -> i32>(c"cuInit")(0);
        assert_eq!(status, 0);
    }

    /// Makes the driver's `call`th call from now on fail with an unknown error; none for 0.
    pub fn fail(&self, call: u64) {
        self.function::<extern "C" fn(u64, i32)>(c"kinglet_stand_in_fail")(call, 0);
    }

    /// Loads this text in place of every module from now on.
    pub fn load(&self, text: &str) {
        let text = CString::new(text).unwrap();
        let module =
            self.function::<unsafe extern "C" fn(*const c_char)>(c"kinglet_stand_in_module");
        // SAFETY: the text ends with a zero.
        unsafe { module(text.as_ptr()) };
    }

    /// The driver's calls until now.
    pub fn calls(&self) -> u64 {
        self.function::<extern "C" fn() -> u64>(c"kinglet_stand_in_calls")()
    }

    /// The order in which warps and blocks run: ascending for 0, descending for 1, else shuffled.
    pub fn order(&self, seed: u64) {
        self.function::<extern "C" fn(u64)>(c"kinglet_stand_in_order")(seed);
    }

    /// Whether races are faults.
    pub fn find_races(&self, are_faults: bool) {
        self.function::<extern "C" fn(i32)>(c"kinglet_stand_in_races")(are_faults.into());
    }

    /// Whether accesses to memory are counted.
    pub fn count_accesses(&self, are_counted: bool) {
        self.function::<extern "C" fn(i32)>(c"kinglet_stand_in_accesses")(are_counted.into());
    }

    /// What was counted: see `tests/cuda/src/counters.rs`.
    pub fn counters(&self) -> Value {
        serde_json::from_str(&self.text(c"kinglet_stand_in_counters")).unwrap()
    }

    /// What went wrong last, in words.
    pub fn last_fault(&self) -> String {
        self.text(c"kinglet_stand_in_last_fault")
    }

    fn text(&self, name: &CStr) -> String {
        let write = self.function::<unsafe extern "C" fn(*mut c_char, usize) -> usize>(name);
        // SAFETY: no byte can be written.
        let size = unsafe { write(std::ptr::null_mut(), 0) };
        let mut text = vec![0u8; size];
        // SAFETY: as many bytes can be written as the text needs.
        unsafe { write(text.as_mut_ptr().cast(), size) };
        CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap().to_owned()
    }

    /// A function of the library's, which must have the type `F`.
    fn function<F: Copy>(&self, name: &CStr) -> F {
        // SAFETY: the handle is that of an open library.
        let function = unsafe { libc::dlsym(self.library.0, name.as_ptr()) };
        assert!(!function.is_null(), "the stand-in has no {name:?}");
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: the types above are those that `tests/cuda/src/control.rs` declares.
        unsafe { mem::transmute_copy(&function) }
    }
}

impl Drop for StandIn {
    /// Says what the stand-in has found, if a test fails while it has it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the stand-in's last fault: {}", self.last_fault());
        }
    }
}

impl Library {
    fn open(path: &Path) -> Self {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the library runs nothing of its own when it is opened.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        assert!(!handle.is_null(), "{} cannot be opened", path.display());
        Self(handle)
    }
}
