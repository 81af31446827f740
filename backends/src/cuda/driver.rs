//! The functions of the driver's library that are called: each is looked up by its name once.
//!
//! cudarc looks a function up when it is first called and panics when there is none, and it turns
//! every status into an enum, which has undefined behaviour for a status that a newer driver has
//! invented. So its bindings serve as the declaration that the ones here are checked against by
//! the compiler, and nothing of it is called but what finds the library.

use core::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUfunction, CUgraph, CUgraphExec,
    CUjit_option, CUmodule, CUresult, CUstream, CUstreamCaptureMode,
};

/// What a function of the driver returns: 0, or the number of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[repr(transparent)]
pub(super) struct Status(pub c_uint);

/// Whether there is a library that can be loaded, by the names that [`Survey::load`] tries.
pub(super) fn is_present() -> bool {
    // SAFETY: loading a library runs what it does at its start. Whoever installed the driver, or
    // set the path of libraries, answers for that, as with every library of the system.
    unsafe { sys::is_culib_present() }
}

/// The library's function of a name.
macro_rules! function {
    ($name:expr) => {{
        // SAFETY: of loading the library, see `is_present`. The functions of a name have the types
        // that cuda.h declares: those of cudarc's declarations, which `functions!` compares with
        // the field that the function goes to. `Status` is the unsigned integer that the enum is.
        unsafe { *sys::culib().get($name.as_bytes()).map_err(|_| $name)? }
    }};
}

/// Makes a type of functions, which `load` looks up by their names.
///
/// `by_status` functions take a [`Status`], for which cudarc has its enum.
macro_rules! functions {
    (
        $(#[$about:meta])* $table:ident
        { $(fn $name:ident($($argument:ty),*);)+ }
        by_status { $(fn $other:ident($($other_argument:ty),*);)* }
    ) => {
        $(#[$about])*
        #[expect(non_snake_case, reason = "the driver's names")]
        pub(super) struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> Status,)+
            $(pub $other: unsafe extern "C" fn($($other_argument),*) -> Status,)*
        }

        impl $table {
            /// Looks up every function, or says which one the library lacks. There must be a
            /// library, see [`is_present`].
            pub fn load() -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: function!(stringify!($name)),)+
                    $($other: function!(stringify!($other)),)*
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> CUresult = sys::$name;)+
    };
}

functions! {
    /// What every driver answers, however old: which devices there are.
    Survey {
        fn cuInit(c_uint);
        fn cuDriverGetVersion(*mut c_int);
        fn cuDeviceGetCount(*mut c_int);
        fn cuDeviceGet(*mut CUdevice, c_int);
        fn cuDeviceGetName(*mut c_char, c_int, CUdevice);
        fn cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    }
    by_status {
        fn cuGetErrorName(Status, *mut *const c_char);
    }
}

functions! {
    /// What a device is used with.
    Driver {
        fn cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
        fn cuDevicePrimaryCtxRelease_v2(CUdevice);
        fn cuCtxSetCurrent(CUcontext);
        fn cuStreamCreate(*mut CUstream, c_uint);
        fn cuStreamDestroy_v2(CUstream);
        fn cuStreamSynchronize(CUstream);
        fn cuMemAlloc_v2(*mut CUdeviceptr, usize);
        fn cuMemFree_v2(CUdeviceptr);
        fn cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        fn cuMemFreeHost(*mut c_void);
        fn cuMemHostRegister_v2(*mut c_void, usize, c_uint);
        fn cuMemHostUnregister(*mut c_void);
        fn cuMemHostGetDevicePointer_v2(*mut CUdeviceptr, *mut c_void, c_uint);
        fn cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        fn cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
        fn cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
        fn cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream);
        fn cuModuleLoadDataEx(
            *mut CUmodule, *const c_void, c_uint, *mut CUjit_option, *mut *mut c_void
        );
        fn cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
        fn cuModuleUnload(CUmodule);
        fn cuLaunchKernel(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream,
            *mut *mut c_void, *mut *mut c_void
        );
        fn cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
        fn cuStreamEndCapture(CUstream, *mut CUgraph);
        fn cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
        fn cuGraphLaunch(CUgraphExec, CUstream);
        fn cuGraphDestroy(CUgraph);
        fn cuGraphExecDestroy(CUgraphExec);
    }
    by_status {}
}
