//! Captures and graphs. A graph is a list of work: what was enqueued first is done first.

use super::launch::{Arguments, prepare};
use super::{Out, no_handle};
use crate::fault::{Fault, code};
use crate::state::{Capture, Work, call_in_context};
use std::ffi::c_char;

/// `CU_STREAM_CAPTURE_MODE_RELAXED`
const RELAXED: u32 = 2;

/// `cuStreamBeginCapture`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamBeginCapture_v2(stream: u64, mode: u32) -> i32 {
    call_in_context(|state| {
        if !state.streams.contains_key(&stream) {
            let text = "the default stream cannot be captured";
            return Err(Fault::new(code::STREAM_CAPTURE_UNSUPPORTED, text));
        }
        if state.capture(stream).is_some() {
            return Err(Fault::new(code::ILLEGAL_STATE, "the stream is captured already"));
        }
        let capture = Capture { is_relaxed: mode == RELAXED, ..Capture::default() };
        state.captures.insert(stream, capture);
        Ok(())
    })
}

/// `cuStreamIsCapturing`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: u64, status: Out<u32>) -> i32 {
    call_in_context(|state| {
        status.give(match state.capture(stream).map(|capture| capture.is_broken) {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        })
    })
}

/// `cuStreamEndCapture`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: Out<u64>) -> i32 {
    call_in_context(|state| {
        let capture = state.captures.remove(&stream);
        let capture =
            capture.ok_or_else(|| Fault::new(code::ILLEGAL_STATE, "the stream is not captured"))?;
        state.joined.retain(|_, origin| *origin != stream);
        if capture.is_broken {
            graph.give(0)?;
            return Err(code::STREAM_CAPTURE_INVALIDATED.into());
        }
        let handle = state.handle();
        for at in 0..capture.work.len() {
            let node = state.handle();
            state.nodes.insert(node, (handle, at));
        }
        state.graphs.insert(handle, capture.work);
        graph.give(handle)
    })
}

/// `cuGraphInstantiateWithFlags`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: Out<u64>,
    graph: u64,
    _flags: u64,
) -> i32 {
    call_in_context(|state| {
        let work = state.graphs.get(&graph).cloned().ok_or_else(|| no_handle("graph", graph))?;
        let handle = state.handle();
        state.executables.insert(handle, work);
        executable.give(handle)
    })
}

/// `cuGraphInstantiate`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiate_v2(
    executable: Out<u64>,
    graph: u64,
    _error_node: Out<u64>,
    _log: *mut c_char,
    _size: usize,
) -> i32 {
    // SAFETY: the caller has given what the other function wants.
    unsafe { cuGraphInstantiateWithFlags(executable, graph, 0) }
}

/// `cuGraphUpload`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphUpload(executable: u64, _stream: u64) -> i32 {
    call_in_context(|state| match state.executables.contains_key(&executable) {
        true => Ok(()),
        false => Err(no_handle("executable graph", executable)),
    })
}

/// `cuGraphLaunch`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphLaunch(executable: u64, stream: u64) -> i32 {
    call_in_context(|state| {
        let missing = || no_handle("executable graph", executable);
        if state.capture(stream).is_some() {
            let text = "the stand-in captures no launches of graphs";
            return Err(Fault::new(code::NOT_SUPPORTED, text));
        }
        let work = state.executables.remove(&executable).ok_or_else(missing)?;
        state.counters.graph_launches += 1;
        for work in &work {
            if state.broken.is_none() {
                state.perform(work);
            }
        }
        state.executables.insert(executable, work);
        Ok(())
    })
}

/// `cuGraphExecDestroy`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphExecDestroy(executable: u64) -> i32 {
    call_in_context(|state| match state.executables.remove(&executable) {
        Some(_) => Ok(()),
        None => Err(no_handle("executable graph", executable)),
    })
}

/// `cuGraphDestroy`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphDestroy(graph: u64) -> i32 {
    call_in_context(|state| {
        state.nodes.retain(|_, (of, _)| *of != graph);
        state.graphs.remove(&graph).map(|_| ()).ok_or_else(|| no_handle("graph", graph))
    })
}

/// `cuGraphGetNodes`: without a place for nodes, only their number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) -> i32 {
    call_in_context(|state| {
        let work = state.graphs.get(&graph).ok_or_else(|| no_handle("graph", graph))?;
        let mut found: Vec<(usize, u64)> = state
            .nodes
            .iter()
            .filter(|(_, (of, _))| *of == graph)
            .map(|(node, (_, at))| (*at, *node))
            .collect();
        found.sort_unstable();
        if count.is_null() {
            return Err(code::INVALID_VALUE.into());
        }
        // SAFETY: the caller gives a place for the number and as many nodes as it says.
        unsafe {
            if !nodes.is_null() {
                let room = (*count).min(found.len());
                for (at, (_, node)) in found.into_iter().take(room).enumerate() {
                    nodes.add(at).write(node);
                }
            }
            count.write(work.len());
        }
        Ok(())
    })
}

/// `cuGraphNodeGetType`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphNodeGetType(node: u64, kind: Out<u32>) -> i32 {
    call_in_context(|state| {
        let place = state.nodes.get(&node).copied().ok_or_else(|| no_handle("node", node))?;
        let work = state.graphs.get(&place.0).and_then(|work| work.get(place.1));
        kind.give(match work.ok_or_else(|| no_handle("node", node))? {
            Work::Kernel(_) => 0,
            Work::Copy { .. } => 1,
            Work::Fill { .. } => 2,
            Work::Host { .. } => 3,
        })
    })
}

/// `cuGraphExecKernelNodeSetParams`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphExecKernelNodeSetParams(
    executable: u64,
    node: u64,
    arguments: *const Arguments,
) -> i32 {
    call_in_context(|state| {
        let (_, at) = state.nodes.get(&node).copied().ok_or_else(|| no_handle("node", node))?;
        if arguments.is_null() {
            return Err(code::INVALID_VALUE.into());
        }
        // SAFETY: the caller gives arguments, and in them a place for every parameter.
        let prepared = unsafe { prepare(state, &*arguments, false)? };
        let work = state.executables.get_mut(&executable);
        let work = work.ok_or_else(|| no_handle("executable graph", executable))?;
        match work.get_mut(at) {
            Some(place @ Work::Kernel(_)) => {
                *place = Work::Kernel(prepared);
                Ok(())
            }
            _ => Err(no_handle("kernel node", node)),
        }
    })
}
