//! What happens to a broken invariant where nothing can catch it.

use core::panic::PanicInfo;

/// Stops here, where a debugger or a watchdog finds it: without an operating system there is nobody
/// to return to, and no input leads here. WebAssembly has somebody, who catches a trap.
#[panic_handler]
fn stop(_info: &PanicInfo<'_>) -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    loop {
        core::hint::spin_loop();
    }
}
