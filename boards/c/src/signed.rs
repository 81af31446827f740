//! Models that a trusted key has signed. Nothing else in the library calls the code that checks
//! signatures, so that firmware which opens none is linked without it.

use crate::files;
use crate::handle;
use crate::model::{self, Model, Target};
use crate::status::Status;
use crate::trust::{KINGLET_TRUST_SKIP_WEIGHTS, SignatureInfo, Trust};
use crate::versioned;
use core::ffi::{c_char, c_int, c_void};
use kinglet_quant::signature::ID_BYTES;
use kinglet_quant::{Code, File, PublicKey, Result, ensure, fail};

/// Opens a weight file by its path as `kinglet_model_open_path` does, once it is known to be what a
/// trusted key has signed. The signature is checked first, then the checksums of all sections,
/// which reads the whole file unless `KINGLET_TRUST_SKIP_WEIGHTS` is set, and only then is anything
/// parsed. What is altered later is not noticed: nobody but who is trusted may write to the file.
///
/// `KINGLET_STATUS_NOT_SIGNED`, `KINGLET_STATUS_WRONG_SIGNATURE`, and `KINGLET_STATUS_REPLAYED` for
/// an older version or another model. `trust` is needed until the call returns.
///
/// A device that updates itself keeps the version of `kinglet_model_describe_signature` once a new
/// model has worked, where nobody can lower it, and gives it as `least_version` from then on.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_signed_path(
    path: *const c_char,
    trust: *const Trust,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller; the bytes belong to the mapping.
    unsafe { target.fill(&|| files::map_path(path), &|bytes| open(bytes, trust)) }
}

/// Opens a weight file that is part of an open file as `kinglet_model_open_fd` does, once it is
/// known to be what a trusted key has signed: see `kinglet_model_open_signed_path`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_signed_fd(
    fd: c_int,
    offset: u64,
    bytes: u64,
    trust: *const Trust,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller; the bytes belong to the mapping.
    unsafe { target.fill(&|| files::map_fd(fd, offset, bytes), &|bytes| open(bytes, trust)) }
}

/// Opens a weight file that lies in memory as `kinglet_model_open_memory` does, once it is known to
/// be what a trusted key has signed: see `kinglet_model_open_signed_path`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_signed_memory(
    data: *const c_void,
    bytes: usize,
    trust: *const Trust,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller.
    let find = || unsafe { model::find_in_memory(data, bytes) };
    // SAFETY: as promised by the caller.
    unsafe { target.fill(&find, &|bytes| open(bytes, trust)) }
}

/// What the signature of a model says that was opened with a key. `info->struct_size` must be set.
/// `KINGLET_STATUS_NOT_SIGNED` for a model that was opened without one, whatever its file says.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_describe_signature(
    model: *const Model,
    info: *mut SignatureInfo,
) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { model::with(model, |model| fill_info(model, info)) }
}

/// # Safety
///
/// As for [`versioned::fill`].
unsafe fn fill_info(model: &Model, info: *mut SignatureInfo) -> Result<()> {
    let signature = model.file.signature().filter(|_| model.is_signed);
    let Some(signature) = signature else {
        fail!(Code::NotSigned, "the model was opened without asking for a signature");
    };
    let mut own = SignatureInfo {
        struct_size: size_of::<SignatureInfo>(),
        reserved: 0,
        version: signature.version(),
        key_id: signature.key_id().0,
        model_id: [0; 72],
    };
    const { assert!(ID_BYTES < 72) };
    for (to, &from) in own.model_id.iter_mut().zip(signature.model_id().as_bytes()) {
        *to = from as c_char;
    }
    // SAFETY: as promised by the caller.
    unsafe { versioned::fill(info, &own) }
}

/// Opens what the caller trusts.
///
/// # Safety
///
/// As for [`versioned::read`], and texts in the struct must be null or end with a zero.
unsafe fn open(bytes: &'static [u8], trust: *const Trust) -> Result<File<'static>> {
    ensure!(!trust.is_null(), Code::BadArgument, "what is trusted is null");
    // SAFETY: as promised by the caller.
    let given = unsafe { versioned::read(trust) }?;
    let has_rest = given.reserved != 0 || given.reserved_flags != 0;
    ensure!(
        !has_rest && given.flags & !KINGLET_TRUST_SKIP_WEIGHTS == 0,
        Code::BadArgument,
        "trust has flags or fields that this Kinglet lacks"
    );
    // SAFETY: as promised by the caller.
    let key = unsafe { handle::text(given.key, "the trusted key") }?;
    let model_id = (!given.model_id.is_null())
        // SAFETY: as promised by the caller.
        .then(|| unsafe { handle::text(given.model_id, "the model id") })
        .transpose()?;
    let trust = kinglet_quant::Trust {
        key: PublicKey::parse(key)?,
        model_id,
        least_version: given.least_version,
        checks_weights: given.flags & KINGLET_TRUST_SKIP_WEIGHTS == 0,
    };
    File::open_signed(bytes, &trust)
}
