//! What happens to a broken invariant where nothing can catch it.

use core::panic::PanicInfo;

/// Stops here, where a debugger or a watchdog finds it: without an operating system there is nobody
/// to return to, and no input leads here.
#[panic_handler]
fn stop(_info: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
