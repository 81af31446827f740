//! Structs that begin with their size: how those of other versions are read and filled.

use crate::abi::{
    Constraint, GenerateOptions, Generation, LogSink, ModelInfo, Sampling, SessionInfo,
    SessionOptions,
};
use crate::trust::{SignatureInfo, Trust};
use kinglet_quant::{Code, Result, ensure};

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
///
/// The type must be `repr(C)`, begin with a `usize` that tells its size, and be valid whatever its
/// bytes are, as numbers and pointers that nobody follows yet.
pub(crate) unsafe trait Versioned: Copy {
    /// Bytes of the struct in the first version of the interface.
    const FIRST: usize;
}

macro_rules! versioned {
    ($($name:ty: $first:literal on 64 bits, $first32:literal on 32;)+) => {$(
        // SAFETY: the struct is `repr(C)`, begins with `struct_size` and consists of numbers and
        // pointers; functions among them are valid because the caller's compiler has made them.
        unsafe impl Versioned for $name {
            const FIRST: usize = if size_of::<usize>() == 8 { $first } else { $first32 };
        }
        const _: () = assert!(size_of::<$name>() >= <$name as Versioned>::FIRST);
    )+};
}

versioned! {
    LogSink: 32 on 64 bits, 20 on 32;
    ModelInfo: 72 on 64 bits, 60 on 32;
    SessionOptions: 72 on 64 bits, 48 on 32;
    SessionInfo: 48 on 64 bits, 40 on 32;
    Sampling: 64 on 64 bits, 48 on 32;
    Constraint: 48 on 64 bits, 24 on 32;
    GenerateOptions: 32 on 64 bits, 20 on 32;
    Generation: 16 on 64 bits, 12 on 32;
    Trust: 48 on 64 bits, 32 on 32;
    SignatureInfo: 104 on 64 bits, 96 on 32;
}

/// Reads a struct of any version; null gives zeros.
///
/// `BadArgument` for a size below the first version's, and for bytes beyond this version's that are
/// not zero.
///
/// # Safety
///
/// `given` must be null or point to as many bytes as it says itself, aligned for the type.
pub(crate) unsafe fn read<T: Versioned>(given: *const T) -> Result<T> {
    let mut own = core::mem::MaybeUninit::<T>::zeroed();
    if !given.is_null() {
        ensure!(given.is_aligned(), Code::BadArgument, "the options are not aligned");
        // SAFETY: aligned; the caller passes a struct, and every one begins with its size.
        let bytes = unsafe { given.cast::<usize>().read() };
        check_size::<T>(bytes)?;
        let known = bytes.min(size_of::<T>());
        // SAFETY: the struct has as many bytes as it says; `own` has at least `known`.
        unsafe { own.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(given.cast(), known) };
        // SAFETY: as above, all within the bytes that the struct says it has.
        let rest = unsafe { core::slice::from_raw_parts(given.cast::<u8>(), bytes) };
        ensure!(
            rest[known..].iter().all(|&byte| byte == 0),
            Code::BadArgument,
            "the options are of a newer Kinglet: leave the fields that this one lacks at zero"
        );
    }
    // SAFETY: all zeros are valid, and so is what the caller wrote over them.
    Ok(unsafe { own.assume_init() })
}

/// Fills as much of the caller's struct as it has.
///
/// # Safety
///
/// `out` must point to as many bytes as it says itself, aligned for the type.
pub(crate) unsafe fn fill<T: Versioned>(out: *mut T, own: &T) -> Result<()> {
    ensure!(
        !out.is_null() && out.is_aligned(),
        Code::BadArgument,
        "the struct to fill is null or not aligned"
    );
    // SAFETY: aligned; the caller passes a struct, and every one begins with its size.
    let bytes = unsafe { out.cast::<usize>().read() };
    check_size::<T>(bytes)?;
    let sized = size_of::<usize>();
    let known = bytes.min(size_of::<T>()) - sized;
    // SAFETY: both have `known` bytes behind their size.
    unsafe {
        let from = core::ptr::from_ref(own).cast::<u8>().add(sized);
        out.cast::<u8>().add(sized).copy_from_nonoverlapping(from, known);
    }
    Ok(())
}

/// No struct of any version is as long as this.
pub(crate) const SIZE_LIMIT: usize = 4096;

fn check_size<T: Versioned>(bytes: usize) -> Result<()> {
    ensure!(
        // No struct ends within a pointer.
        (T::FIRST..SIZE_LIMIT).contains(&bytes) && bytes.is_multiple_of(align_of::<T>()),
        Code::BadArgument,
        "struct_size is {bytes}: set it to the size of the struct"
    );
    Ok(())
}
