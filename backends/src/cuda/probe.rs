//! Whether there is a device to compute on, and why not.

use super::driver::{self, Driver, Status, Survey};
use super::error;
use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::ptr::null;
use cudarc::driver::sys::{CUdevice, CUdevice_attribute};
use kinglet_quant::Result;
use std::string::String;
use std::sync::OnceLock;

/// The oldest driver whose functions are the ones that are called: CUDA 11.4 of JetPack 5.
const OLDEST_DRIVER: c_int = 11040;
/// The oldest devices that there are kernels for: those of Xavier.
const OLDEST_DEVICE: (c_int, c_int) = (7, 2);
/// Bytes of a device's name, and the 0 behind it.
const NAME_BYTES: usize = 256;

/// Proof that there is a device with kernels, and a driver with every function that is called.
#[derive(Clone, Copy)]
pub struct Cuda(&'static Found);

/// What was found, once for the whole process.
struct Found {
    survey: Survey,
    driver: Driver,
    device: CUdevice,
    name: String,
    capability: (c_int, c_int),
    version: c_int,
}

/// Why there is no [`Cuda`], as a clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is no library of a driver.
    Library,
    /// The library lacks a function.
    Function(&'static str),
    /// The driver knows no device.
    Device,
    /// The system keeps this user from the device.
    Rights {
        /// The driver's number for it.
        status: u32,
    },
    /// No device is new enough; this is the first.
    DeviceTooOld {
        /// What it is called.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The driver is too old: 1000 times its major version and 10 times its minor one.
    DriverTooOld(i32),
    /// The driver fails.
    Driver {
        /// What it was to do.
        doing: &'static str,
        /// Its number for the failure.
        status: u32,
        /// Its word for the failure.
        name: &'static str,
    },
}

impl Cuda {
    /// The first device that there are kernels for. Asks the driver once; the answer stays.
    pub fn detect() -> core::result::Result<Self, Lack> {
        static FOUND: OnceLock<core::result::Result<Found, Lack>> = OnceLock::new();
        match FOUND.get_or_init(find) {
            Ok(found) => Ok(Self(found)),
            Err(lack) => Err(lack.clone()),
        }
    }

    /// What the device is called.
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// The compute capability of the device, major and minor.
    pub fn capability(self) -> (i32, i32) {
        self.0.capability
    }

    /// The version of CUDA that the driver is for, major and minor.
    pub fn driver_version(self) -> (i32, i32) {
        version(self.0.version)
    }

    pub(super) fn device(self) -> CUdevice {
        self.0.device
    }

    pub(super) fn driver(self) -> &'static Driver {
        &self.0.driver
    }

    /// An attribute of the device; 0 when the driver does not know it.
    pub(super) fn attribute(self, attribute: CUdevice_attribute) -> c_int {
        self.0.survey.attribute(self.0.device, attribute).unwrap_or(0)
    }

    /// Fails unless a function of the driver succeeded. `doing` says what it was to do, after
    /// "cannot".
    pub(super) fn check(self, status: Status, doing: fmt::Arguments<'_>) -> Result<()> {
        match status {
            Status(0) => Ok(()),
            status => Err(error::failure(status, self.0.survey.name_of(status), doing)),
        }
    }
}

/// Why there is no driver: systems name its library differently.
const NO_LIBRARY: &str = if cfg!(windows) {
    "there is no NVIDIA driver: the library nvcuda.dll was not found; NVIDIA's driver for Windows \
     has it"
} else if cfg!(target_vendor = "apple") {
    "there is no NVIDIA driver: NVIDIA makes none for this system"
} else {
    "there is no NVIDIA driver: the library libcuda.so.1 was not found; JetPack has it, and a \
     container needs the NVIDIA runtime"
};

impl PartialEq for Cuda {
    fn eq(&self, other: &Self) -> bool {
        self.0.device == other.0.device
    }
}

impl Eq for Cuda {}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({self})")
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((major, minor), (driver, update)) = (self.capability(), self.driver_version());
        let name = self.name();
        write!(f, "{name}, compute capability {major}.{minor}, driver for CUDA {driver}.{update}")
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library => f.write_str(NO_LIBRARY),
            Self::Function(name) => {
                let library = if cfg!(windows) { "nvcuda.dll" } else { "libcuda" };
                write!(
                    f,
                    "the NVIDIA driver is too old or not whole: {library} lacks {name}; install \
                     JetPack 5 or later, or a driver for CUDA 11.4 or later",
                )
            }
            Self::Device => f.write_str(
                "the NVIDIA driver finds no device; if there is one, look at CUDA_VISIBLE_DEVICES, \
                 and in a container at its devices",
            ),
            Self::Rights { status } => write!(
                f,
                "this user may not use the NVIDIA device (CUDA error {status}): add the user to \
                 the group video, or give the container the device",
            ),
            Self::DeviceTooOld { name, capability: (major, minor) } => write!(
                f,
                "the device {name} has compute capability {major}.{minor}, and Kinglet's kernels \
                 need 7.2 (Jetson Xavier) or later",
            ),
            Self::DriverTooOld(found) => {
                let (major, minor) = version(*found);
                write!(
                    f,
                    "the NVIDIA driver is for CUDA {major}.{minor}, and 11.4 or later is needed: \
                     install JetPack 5 or later, or a newer driver",
                )
            }
            Self::Driver { doing, status, name } => write!(
                f,
                "the NVIDIA driver cannot {doing} (CUDA error {status}, {name}): restart the \
                 machine, and install the driver again if that does not help",
            ),
        }
    }
}

impl core::error::Error for Lack {}

impl Survey {
    fn check(&self, status: Status, doing: &'static str) -> core::result::Result<(), Lack> {
        match status.0 {
            0 => Ok(()),
            // NO_DEVICE.
            100 => Err(Lack::Device),
            // OPERATING_SYSTEM, NOT_PERMITTED.
            304 | 800 => Err(Lack::Rights { status: status.0 }),
            number => Err(Lack::Driver { doing, status: number, name: self.name_of(status) }),
        }
    }

    /// The driver's word for a status.
    fn name_of(&self, status: Status) -> &'static str {
        let mut name: *const c_char = null();
        // SAFETY: the function writes a pointer to where it is told.
        let answer = unsafe { (self.cuGetErrorName)(status, &mut name) };
        if answer != Status(0) || name.is_null() {
            return "unknown to the driver";
        }
        // SAFETY: the driver promises a string with a 0 at its end; it is one of the library's
        // constants, and the library stays loaded.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("unreadable")
    }

    fn attribute(&self, device: CUdevice, attribute: CUdevice_attribute) -> Option<c_int> {
        let mut value = 0;
        // SAFETY: the function writes an integer to where it is told.
        let status = unsafe { (self.cuDeviceGetAttribute)(&mut value, attribute, device) };
        (status == Status(0)).then_some(value)
    }

    fn capability(&self, device: CUdevice) -> (c_int, c_int) {
        use CUdevice_attribute::*;
        let part = |attribute| self.attribute(device, attribute).unwrap_or(0);
        (
            part(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            part(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
    }

    fn device_name(&self, device: CUdevice) -> String {
        let mut name = [0_u8; NAME_BYTES];
        // SAFETY: the function writes at most as many bytes as it is told.
        let status = unsafe {
            (self.cuDeviceGetName)(name.as_mut_ptr().cast(), NAME_BYTES as c_int, device)
        };
        match CStr::from_bytes_until_nul(&name) {
            Ok(name) if status == Status(0) && !name.is_empty() => {
                String::from_utf8_lossy(name.to_bytes()).into_owned()
            }
            _ => "the NVIDIA device".into(),
        }
    }

    /// The devices, in the driver's order.
    fn devices(&self) -> core::result::Result<impl Iterator<Item = CUdevice>, Lack> {
        let mut count = 0;
        // SAFETY: the function writes an integer to where it is told.
        let status = unsafe { (self.cuDeviceGetCount)(&mut count) };
        self.check(status, "count its devices")?;
        Ok((0..count).filter_map(|ordinal| {
            let mut device = 0;
            // SAFETY: the function writes an integer to where it is told.
            let status = unsafe { (self.cuDeviceGet)(&mut device, ordinal) };
            (status == Status(0)).then_some(device)
        }))
    }
}

/// Asks in an order in which the first lack is the one that matters most: on a device that is too
/// old, no other driver helps.
fn find() -> core::result::Result<Found, Lack> {
    if !driver::is_present() {
        return Err(Lack::Library);
    }
    let survey = Survey::load().map_err(Lack::Function)?;
    // SAFETY: 0 is the one value that there is.
    survey.check(unsafe { (survey.cuInit)(0) }, "start")?;
    let mut first = None;
    let fits = |&device: &CUdevice| {
        first.get_or_insert(device);
        survey.capability(device) >= OLDEST_DEVICE
    };
    let Some(device) = survey.devices()?.find(fits) else {
        let device = first.ok_or(Lack::Device)?;
        let (name, capability) = (survey.device_name(device), survey.capability(device));
        return Err(Lack::DeviceTooOld { name, capability });
    };
    let mut version = 0;
    // SAFETY: the function writes an integer to where it is told.
    let status = unsafe { (survey.cuDriverGetVersion)(&mut version) };
    survey.check(status, "tell its version")?;
    if version < OLDEST_DRIVER {
        return Err(Lack::DriverTooOld(version));
    }
    let driver = Driver::load().map_err(Lack::Function)?;
    let (name, capability) = (survey.device_name(device), survey.capability(device));
    Ok(Found { survey, driver, device, name, capability, version })
}

/// Major and minor of a version as the driver tells it.
fn version(number: c_int) -> (c_int, c_int) {
    (number / 1000, number % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn detection_never_panics() {
        let found = Cuda::detect();
        assert_eq!(found, Cuda::detect());
        match found {
            Ok(cuda) => assert!(cuda.to_string().starts_with(cuda.name())),
            Err(lack) => assert!(!lack.to_string().is_empty()),
        }
    }

    #[test]
    fn lacks_name_what_was_found() {
        let name = "Jetson Nano".to_string();
        let library = match std::env::consts::OS {
            "windows" => "nvcuda.dll",
            "macos" => "NVIDIA makes none",
            _ => "libcuda.so.1",
        };
        for (lack, word) in [
            (Lack::Library, library),
            (Lack::Function("cuGraphLaunch"), "cuGraphLaunch"),
            (Lack::Rights { status: 800 }, "800"),
            (
                Lack::DeviceTooOld { name, capability: (5, 3) },
                "Jetson Nano has compute capability 5.3",
            ),
            (Lack::DriverTooOld(10020), "CUDA 10.2,"),
        ] {
            assert!(lack.to_string().contains(word), "{lack}");
        }
    }
}
