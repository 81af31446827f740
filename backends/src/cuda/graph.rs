//! Launches that are recorded once and repeated as a whole.

use super::device::Device;
use core::mem;
use core::ptr::null_mut;
use cudarc::driver::sys::{CUgraph, CUgraphExec, CUstreamCaptureMode};
use kinglet_quant::Result;
use std::sync::Arc;

/// Recorded launches and copies of a device, ready to be repeated.
#[derive(Debug)]
pub(crate) struct Graph {
    device: Arc<Device>,
    handle: CUgraphExec,
}

// SAFETY: the driver may be called with a graph from any thread, by one at a time: this value is
// the only one with the handle, and is not `Sync`.
unsafe impl Send for Graph {}

/// A stream that records instead of doing, until this is dropped.
struct Capture<'d>(&'d Device);

/// What was recorded, not yet made ready.
struct Template<'d> {
    device: &'d Device,
    handle: CUgraph,
}

impl Graph {
    /// Records what `launches` asks of the device: none of it is done. Makes the device's context
    /// the calling thread's. Taking memory or waiting meanwhile fails.
    pub fn capture(device: &Arc<Device>, launches: impl FnOnce() -> Result<()>) -> Result<Self> {
        let template = {
            let capture = Capture::begin(device)?;
            launches()?;
            capture.end()?
        };
        let mut handle = null_mut();
        let instantiate = device.cuda().driver().cuGraphInstantiateWithFlags;
        // SAFETY: the template is there, and the function writes a handle to where it is told.
        let status = unsafe { instantiate(&mut handle, template.handle, 0) };
        device.cuda().check(status, format_args!("make a graph of launches"))?;
        Ok(Self { device: Arc::clone(device), handle })
    }

    /// Repeats what was recorded, in the order of the stream. The thread must have entered the
    /// device.
    ///
    /// # Safety
    ///
    /// What was promised for each recorded launch and copy must hold again: the modules are
    /// loaded, and all memory is there and nobody else's until the stream has come so far.
    pub unsafe fn launch(&self) -> Result<()> {
        let cuda = self.device.cuda();
        // SAFETY: the graph and the stream live as long as `self`; the caller promises the rest.
        let status = unsafe { (cuda.driver().cuGraphLaunch)(self.handle, self.device.stream()) };
        cuda.check(status, format_args!("launch a graph"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.device.settle();
        // What fails here cannot be mended: the graph goes with the context.
        // SAFETY: the graph was made for `self`, and the device has finished with it.
        let _ = unsafe { (self.device.cuda().driver().cuGraphExecDestroy)(self.handle) };
    }
}

impl<'d> Capture<'d> {
    fn begin(device: &'d Device) -> Result<Self> {
        device.enter()?;
        // Only what this thread does can spoil the recording.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the device.
        let status =
            unsafe { (device.cuda().driver().cuStreamBeginCapture_v2)(device.stream(), mode) };
        device.cuda().check(status, format_args!("record launches"))?;
        Ok(Self(device))
    }

    /// Ends the recording. Where that fails, dropping tries once more: a stream that records
    /// would keep everything from being freed.
    fn end(self) -> Result<Template<'d>> {
        let template = self.stop()?;
        mem::forget(self);
        Ok(template)
    }

    fn stop(&self) -> Result<Template<'d>> {
        let device = self.0;
        let mut template = Template { device, handle: null_mut() };
        let end = device.cuda().driver().cuStreamEndCapture;
        // SAFETY: the stream lives as long as the device; the function writes a handle to where it
        // is told, or null.
        let status = unsafe { end(device.stream(), &mut template.handle) };
        device.cuda().check(status, format_args!("record launches"))?;
        Ok(template)
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // Only after another failure, or a panic, which is the one to tell of.
        let _ = self.stop();
    }
}

impl Drop for Template<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the template was made for `self`; the graph that it became is independent.
            let _ = unsafe { (self.device.cuda().driver().cuGraphDestroy)(self.handle) };
        }
    }
}
