//! The driver's functions, as programs call them.

use kinglet_stand_in::control;
use kinglet_stand_in::driver::{Out, Text, context::*, device::*, event::*, graph::*, launch::*};
use kinglet_stand_in::driver::{memory::*, module::*};
use kinglet_stand_in::fault::code;
use std::ffi::{CStr, CString, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The driver has one state: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Adds `by` to every element of `data`.
const ADD: &str = "
.visible .entry add(.param .u64 .ptr .global .align 4 data, .param .u32 by)
.maxntid 64
{
.reg .b32 %w<4>; .reg .b64 %d<4>;
ld.param.u64 %d0, [data]; ld.param.u32 %w0, [by];
mov.u32 %w1, %tid.x; mad.wide.u32 %d0, %w1, 4, %d0;
ld.global.u32 %w2, [%d0]; add.u32 %w2, %w2, %w0; st.global.u32 [%d0], %w2;
ret;
}
";

fn module_text(version: &str, target: &str) -> CString {
    CString::new(format!(".version {version}\n.target {target}\n.address_size 64\n{ADD}")).unwrap()
}

#[track_caller]
fn fine(result: i32) {
    assert_eq!(result, code::SUCCESS, "{}", control::last_fault());
}

/// Calls a function with a place for a result, which must succeed.
#[track_caller]
fn get<T: Default>(call: impl FnOnce(Out<T>) -> i32) -> T {
    let mut value = T::default();
    fine(call(Out::of(&mut value)));
    value
}

/// A device with a context, and a turn.
struct Device(#[expect(dead_code, reason = "it ends with the device")] MutexGuard<'static, ()>);

impl Device {
    fn new(board: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(control::board(board));
        // SAFETY: every place for a result is there.
        unsafe {
            fine(cuInit(0));
            let device = get(|out| cuDeviceGet(out, 0));
            let context = get(|out| cuDevicePrimaryCtxRetain(out, device));
            fine(cuCtxSetCurrent(context));
        }
        Self(turn)
    }

    fn load(&self) -> (u64, u64) {
        let text = module_text("6.5", "sm_72");
        // SAFETY: every place for a result is there, and texts end with a zero.
        unsafe {
            let module = get(|out| cuModuleLoadData(out, Text::of(&text)));
            (module, get(|out| cuModuleGetFunction(out, module, Text::of(c"add"))))
        }
    }

    fn stream(&self) -> u64 {
        // SAFETY: there is a place for the result.
        get(|out| unsafe { cuStreamCreate(out, 1) })
    }

    fn allocate(&self, values: &[u32]) -> u64 {
        // SAFETY: there is a place for the result, and the values are there.
        unsafe {
            let start = get(|out| cuMemAlloc_v2(out, 4 * values.len()));
            fine(cuMemcpyHtoD_v2(start, values.as_ptr() as u64, 4 * values.len()));
            start
        }
    }

    fn read(&self, start: u64, count: usize) -> Vec<u32> {
        let mut values = vec![0u32; count];
        // SAFETY: there is room for the values.
        fine(unsafe { cuMemcpyDtoH_v2(values.as_mut_ptr() as u64, start, 4 * count) });
        values
    }

    fn add(&self, function: u64, stream: u64, threads: u32, data: u64, by: u32) -> i32 {
        let parameters: [*const c_void; 2] = [(&raw const data).cast(), (&raw const by).cast()];
        let (parameters, none) = (parameters.as_ptr(), std::ptr::null());
        // SAFETY: there is a place for every parameter.
        unsafe { cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, stream, parameters, none) }
    }
}

#[test]
fn kernels_run_between_copies() {
    let device = Device::new("orin");
    let (module, add) = device.load();
    let stream = device.stream();
    let data = device.allocate(&[1, 2, 3, 4]);
    fine(device.add(add, stream, 4, data, 10));
    assert_eq!(device.read(data, 4), [11, 12, 13, 14]);
    // SAFETY: there is nothing to be given.
    unsafe {
        fine(cuStreamSynchronize(stream));
        fine(cuMemsetD32Async(data, 7, 4, stream));
        assert_eq!(device.read(data, 4), [7; 4]);
        fine(cuMemFree_v2(data));
        fine(cuModuleUnload(module));
        fine(cuStreamDestroy_v2(stream));
    }
    let counters = control::counters();
    let kernel = &counters.kernels["add"];
    assert_eq!((kernel.launches, kernel.instructions), (1, 8));
    assert_eq!(counters.copies.map(|copies| copies.bytes), [16, 32, 0]);
    assert_eq!((counters.live_bytes, counters.peak_bytes), (0, 16));
}

#[test]
fn graphs_repeat_what_was_captured() {
    let device = Device::new("orin");
    let (_, add) = device.load();
    let stream = device.stream();
    let data = device.allocate(&[0; 4]);
    // SAFETY: every place for a result is there.
    unsafe {
        fine(cuStreamBeginCapture_v2(stream, 1));
        assert_eq!(get(|out| cuStreamIsCapturing(stream, out)), 1);
        // Values of parameters are those of the time of the capture.
        fine(device.add(add, stream, 4, data, 1));
        fine(device.add(add, stream, 2, data, 100));
        let graph = get(|out| cuStreamEndCapture(stream, out));
        assert_eq!(control::counters().kernels.len(), 0);
        let executable = get(|out| cuGraphInstantiateWithFlags(out, graph, 0));
        for _ in 0..3 {
            fine(cuGraphLaunch(executable, stream));
        }
        assert_eq!(device.read(data, 4), [303, 303, 3, 3]);
        assert_eq!(control::counters().graph_launches, 3);
        let mut count = 0;
        fine(cuGraphGetNodes(graph, std::ptr::null_mut(), &mut count));
        let mut nodes = vec![0; count];
        fine(cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count));
        assert_eq!(get(|out| cuGraphNodeGetType(nodes[1], out)), 0);
        let by = 1000u32;
        let parameters: [*const c_void; 2] = [(&raw const data).cast(), (&raw const by).cast()];
        let arguments = Arguments {
            function: add,
            grid: [1; 3],
            block: [4, 1, 1],
            dynamic: 0,
            parameters: parameters.as_ptr(),
            extra: std::ptr::null(),
        };
        fine(cuGraphExecKernelNodeSetParams(executable, nodes[1], &arguments));
        fine(cuGraphLaunch(executable, stream));
        assert_eq!(device.read(data, 4), [1304, 1304, 1004, 1004]);
        fine(cuGraphExecDestroy(executable));
        fine(cuGraphDestroy(graph));
        assert_eq!(cuGraphLaunch(executable, stream), code::INVALID_HANDLE);
    }
}

#[test]
fn graphs_do_not_keep_memory() {
    let device = Device::new("orin");
    let stream = device.stream();
    let data = device.allocate(&[0; 4]);
    // SAFETY: every place for a result is there.
    unsafe {
        fine(cuStreamBeginCapture_v2(stream, 1));
        fine(cuMemsetD8Async(data, 1, 16, stream));
        let graph = get(|out| cuStreamEndCapture(stream, out));
        let executable = get(|out| cuGraphInstantiateWithFlags(out, graph, 0));
        fine(cuGraphLaunch(executable, stream));
        assert_eq!(device.read(data, 4), [0x0101_0101; 4]);
        fine(cuMemFree_v2(data));
        fine(cuGraphLaunch(executable, stream));
        assert_eq!(cuStreamSynchronize(stream), code::ILLEGAL_ADDRESS);
    }
}

#[test]
fn captures_forbid_what_waits() {
    let device = Device::new("orin");
    let (stream, other) = (device.stream(), device.stream());
    let data = device.allocate(&[0; 4]);
    let (_, add) = device.load();
    let mut graph = 1;
    // SAFETY: every place for a result is there.
    unsafe {
        assert_eq!(cuStreamBeginCapture_v2(0, 1), code::STREAM_CAPTURE_UNSUPPORTED);
        fine(cuStreamBeginCapture_v2(stream, 1));
        assert_eq!(cuStreamSynchronize(stream), code::STREAM_CAPTURE_UNSUPPORTED);
        let ended = cuStreamEndCapture(stream, Out::of(&mut graph));
        assert_eq!((ended, graph), (code::STREAM_CAPTURE_INVALIDATED, 0));
        fine(cuStreamBeginCapture_v2(stream, 0));
        let failed = cuMemAlloc_v2(Out::of(&mut graph), 4);
        assert_eq!(failed, code::STREAM_CAPTURE_UNSUPPORTED);
        assert_ne!(cuStreamEndCapture(stream, Out::of(&mut graph)), code::SUCCESS);
        // Another stream joins by an event.
        fine(cuStreamBeginCapture_v2(stream, 1));
        let event = get(|out| cuEventCreate(out, 2));
        fine(cuEventRecord(event, stream));
        fine(cuStreamWaitEvent(other, event, 0));
        fine(device.add(add, other, 4, data, 5));
        let graph = get(|out| cuStreamEndCapture(stream, out));
        let executable = get(|out| cuGraphInstantiateWithFlags(out, graph, 0));
        fine(cuGraphLaunch(executable, other));
        assert_eq!(device.read(data, 4), [5; 4]);
    }
}

#[test]
fn a_failed_kernel_breaks_everything_after_it() {
    let device = Device::new("orin");
    let (_, add) = device.load();
    let data = device.allocate(&[0; 4]);
    fine(device.add(add, 0, 5, data, 1));
    // SAFETY: every place for a result is there.
    unsafe {
        assert_eq!(cuCtxSynchronize(), code::ILLEGAL_ADDRESS);
        assert_eq!(cuMemFree_v2(data), code::ILLEGAL_ADDRESS);
    }
    let fault = control::last_fault();
    assert!(fault.contains("kernel add") && fault.contains("lane 4"), "{fault}");
}

#[test]
fn launches_are_checked_when_they_are_called() {
    let device = Device::new("orin");
    let (_, add) = device.load();
    let data = device.allocate(&[0; 4]);
    assert_eq!(device.add(add, 0, 65, data, 1), code::INVALID_VALUE);
    assert_eq!(device.add(add + 1, 0, 4, data, 1), code::INVALID_HANDLE);
    assert_eq!(device.add(add, 12_345, 4, data, 1), code::INVALID_HANDLE);
    let (parameters, none) = ([std::ptr::null(); 2].as_ptr(), std::ptr::null());
    // SAFETY: the launch is refused before any parameter is read.
    let failed = unsafe { cuLaunchKernel(add, 1, 1, 1, 4, 1, 1, 50_000, 0, parameters, none) };
    assert_eq!(failed, code::INVALID_VALUE);
    // SAFETY: there is nothing to be given.
    unsafe {
        fine(cuFuncSetAttribute(add, 8, 100_000));
        assert_eq!(cuFuncSetAttribute(add, 8, 200_000), code::INVALID_VALUE);
    }
}

#[test]
fn drivers_refuse_newer_modules() {
    let load = |board: &str, version: &str, target: &str| {
        let _device = Device::new(board);
        let text = module_text(version, target);
        let mut module = 0;
        // SAFETY: there is a place for the result, and the text ends with a zero.
        unsafe { cuModuleLoadData(Out::of(&mut module), Text::of(&text)) }
    };
    fine(load("xavier", "7.4", "sm_72"));
    assert_eq!(load("xavier", "7.5", "sm_72"), code::UNSUPPORTED_PTX_VERSION);
    assert_eq!(load("xavier", "7.4", "sm_80"), code::NO_BINARY_FOR_GPU);
    assert_eq!(load("orin5", "8.0", "sm_80"), code::UNSUPPORTED_PTX_VERSION);
    fine(load("orin", "8.5", "sm_87"));
    assert_eq!(load("orin", "8.6", "sm_87"), code::UNSUPPORTED_PTX_VERSION);
    fine(load("thor", "9.0", "sm_72"));
    assert_eq!(load("thor", "9.0", "sm_90a"), code::NO_BINARY_FOR_GPU);
    let _device = Device::new("orin");
    let mut module = 0;
    for (text, want) in [
        (c"nothing", code::INVALID_IMAGE),
        (c".version 6.5\n.target sm_72\n.entry k() { frob; }", code::INVALID_PTX),
    ] {
        // SAFETY: there is a place for the result, and the text ends with a zero.
        let failed = unsafe { cuModuleLoadData(Out::of(&mut module), Text::of(text)) };
        assert_eq!(failed, want);
    }
    assert!(control::last_fault().contains("line 3"), "{}", control::last_fault());
    let mut log = [1u8; 16];
    let values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(16)];
    let text = Text::of(c".version 6.5\n.target sm_72\n.entry k() { frob; }");
    // SAFETY: there are places for the result and for the log, and the text ends with a zero.
    let failed = unsafe {
        cuModuleLoadDataEx(Out::of(&mut module), text, 2, [5, 6].as_ptr(), values.as_ptr())
    };
    assert_eq!((failed, &log), (code::INVALID_PTX, b"line 3: frob: t\0"));
}

#[test]
fn registered_memory_is_used_where_it_is() {
    let device = Device::new("orin");
    let (_, add) = device.load();
    let mut host = [1u32, 2, 3, 4];
    let start = host.as_mut_ptr() as u64;
    // SAFETY: the memory is there until its registration ends.
    unsafe {
        let data = {
            fine(cuMemHostRegister_v2(start, 16, 2));
            get(|out| cuMemHostGetDevicePointer_v2(out, start, 0))
        };
        fine(device.add(add, 0, 4, data, 1));
        assert_eq!((&raw const host).read_volatile(), [2, 3, 4, 5]);
        fine(cuMemHostUnregister(start));
        assert_eq!(cuMemHostUnregister(start), code::HOST_MEMORY_NOT_REGISTERED);
        fine(cuMemHostRegister_v2(start, 16, 2 | 8));
    }
    fine(device.add(add, 0, 4, start, 1));
    assert!(control::last_fault().contains("read-only"));
    drop(device);
    let device = Device::new("xavier");
    // SAFETY: the memory is there.
    let failed = unsafe { cuMemHostRegister_v2(start, 16, 2 | 8) };
    assert_eq!(failed, code::NOT_SUPPORTED);
    drop(device);
    let device = Device::new("thor");
    let (_, add) = device.load();
    fine(device.add(add, 0, 4, start, 1));
    // SAFETY: the array is there.
    assert_eq!(unsafe { (&raw const host).read_volatile() }, [3, 4, 5, 6]);
}

#[test]
fn calls_fail_when_tests_want_it() {
    let device = Device::new("orin");
    let before = control::calls();
    control::fail(2, code::OUT_OF_MEMORY);
    let mut start = 0;
    let mut call = || {
        // SAFETY: there is a place for the result.
        unsafe { cuMemAlloc_v2(Out::of(&mut start), 16) }
    };
    let found = [call(), call(), call()];
    assert_eq!(found, [code::SUCCESS, code::OUT_OF_MEMORY, code::SUCCESS]);
    assert_eq!(control::calls(), before + 3);
    control::memory(40);
    assert_eq!(call(), code::OUT_OF_MEMORY);
    drop(device);
}

#[test]
fn contexts_belong_to_threads() {
    let device = Device::new("orin");
    let failed = std::thread::scope(|scope| {
        // SAFETY: there is nothing to be given.
        scope.spawn(|| unsafe { cuCtxSynchronize() }).join().unwrap()
    });
    assert_eq!(failed, code::INVALID_CONTEXT);
    drop(device);
}

#[test]
fn a_driver_without_a_device_says_so() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(control::board("none") && !control::board("jetson"));
    let mut count = 0;
    // SAFETY: every place for a result is there.
    unsafe {
        assert_eq!(cuInit(0), code::NO_DEVICE);
        assert_eq!(cuDeviceGetCount(Out::of(&mut count)), code::NOT_INITIALIZED);
        let mut name = std::ptr::null();
        fine(cuGetErrorName(code::NO_DEVICE, Out::of(&mut name)));
        assert_eq!(CStr::from_ptr(name), c"CUDA_ERROR_NO_DEVICE");
    }
}
