//! What a failure of the driver means to people.

use super::driver::Status;
use core::fmt;
use kinglet_quant::{Code, Error};

/// The error of a status other than 0. `doing` says what failed, after "cannot"; `name` is the
/// driver's word for the status.
#[cold]
pub(super) fn failure(status: Status, name: &str, doing: fmt::Arguments<'_>) -> Error {
    let number = status.0;
    let (code, advice) = advice(number);
    Error::new(code, format_args!("cannot {doing}: {advice} (CUDA error {number}, {name})"))
}

fn advice(number: u32) -> (Code, &'static str) {
    match number {
        // OUT_OF_MEMORY.
        2 => (
            Code::Resource,
            "the device is out of memory; lower the context, close other programs, or choose a \
             tier of the processor with --tier",
        ),
        // NO_BINARY_FOR_GPU.
        209 => (
            Code::TierUnavailable,
            "there are no kernels for this device; update Kinglet, or choose a tier of the \
             processor with --tier",
        ),
        // JIT_COMPILER_NOT_FOUND, JIT_COMPILATION_DISABLED.
        221 | 223 => (
            Code::TierUnavailable,
            "the driver's compiler, libnvidia-ptxjitcompiler.so, is missing or turned off; give a \
             container all libraries of the driver",
        ),
        // UNSUPPORTED_PTX_VERSION.
        222 => (
            Code::TierUnavailable,
            "the driver is too old for these kernels; update JetPack or the driver",
        ),
        // OPERATING_SYSTEM, NOT_PERMITTED.
        304 | 800 => (
            Code::TierUnavailable,
            "the system refuses; give the user the rights of the group video, and a container the \
             device",
        ),
        // NOT_SUPPORTED.
        801 => (Code::TierUnavailable, "the device or its driver cannot; choose another tier"),
        // STUB_LIBRARY, DEVICE_UNAVAILABLE, NO_DEVICE, INVALID_DEVICE, DEVICE_NOT_LICENSED, and
        // from SYSTEM_NOT_READY to the last of what several processes share.
        34 | 46 | 100..=102 | 802..=810 => (
            Code::TierUnavailable,
            "the device cannot be used now; choose a tier of the processor with --tier",
        ),
        number if is_lost(number) => (
            Code::DeviceLost,
            "the device is lost; the text so far is kept, go on with a tier of the processor",
        ),
        _ => (Code::Internal, "the driver refuses"),
    }
}

/// Whether a device cannot be used any more in this process after an error.
///
/// DEINITIALIZED, ECC_UNCORRECTABLE, NVLINK_UNCORRECTABLE, CONTAINED, ILLEGAL_ADDRESS,
/// LAUNCH_TIMEOUT, CONTEXT_IS_DESTROYED, ASSERT, HARDWARE_STACK_ERROR to LAUNCH_FAILED,
/// TENSOR_MEMORY_LEAK, UNKNOWN.
fn is_lost(number: u32) -> bool {
    matches!(number, 4 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::driver::sys::CUresult::{self, *};
    use std::string::ToString;

    fn code(status: CUresult) -> Code {
        failure(Status(status as u32), "", format_args!("do this")).code()
    }

    #[test]
    fn errors_say_what_to_do() {
        assert_eq!(code(CUDA_ERROR_OUT_OF_MEMORY), Code::Resource);
        for status in [
            CUDA_ERROR_NO_BINARY_FOR_GPU,
            CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
            CUDA_ERROR_JIT_COMPILATION_DISABLED,
            CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
            CUDA_ERROR_NOT_PERMITTED,
            CUDA_ERROR_OPERATING_SYSTEM,
            CUDA_ERROR_NOT_SUPPORTED,
            CUDA_ERROR_NO_DEVICE,
            CUDA_ERROR_STUB_LIBRARY,
            CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
        ] {
            assert_eq!(code(status), Code::TierUnavailable, "{status:?}");
        }
        for status in [
            CUDA_ERROR_DEINITIALIZED,
            CUDA_ERROR_ECC_UNCORRECTABLE,
            CUDA_ERROR_NVLINK_UNCORRECTABLE,
            CUDA_ERROR_ILLEGAL_ADDRESS,
            CUDA_ERROR_LAUNCH_TIMEOUT,
            CUDA_ERROR_CONTEXT_IS_DESTROYED,
            CUDA_ERROR_ASSERT,
            CUDA_ERROR_HARDWARE_STACK_ERROR,
            CUDA_ERROR_ILLEGAL_INSTRUCTION,
            CUDA_ERROR_MISALIGNED_ADDRESS,
            CUDA_ERROR_INVALID_ADDRESS_SPACE,
            CUDA_ERROR_INVALID_PC,
            CUDA_ERROR_LAUNCH_FAILED,
            CUDA_ERROR_UNKNOWN,
        ] {
            assert_eq!(code(status), Code::DeviceLost, "{status:?}");
        }
        for status in [CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED] {
            assert_eq!(code(status), Code::Internal, "{status:?}");
        }
    }

    #[test]
    fn sentences_fit() {
        let doing = "take 12345678901 bytes of the device's memory for the session";
        for number in 1..1000 {
            let name = "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE";
            let error = failure(Status(number), name, format_args!("{doing}")).to_string();
            assert!(error.contains(&std::format!("error {number}, {name})")), "{error}");
        }
    }
}
