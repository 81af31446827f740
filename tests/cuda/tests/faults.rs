//! Every kind of mistake in a kernel is found, with its place.

mod kernel;

use kernel::{Run, with_body};
use kinglet_stand_in::fault::code;
use kinglet_stand_in::ptx;

const START: &str = "ld.param.u64 %d8, [first]; ld.param.u64 %d9, [second];
    mov.u32 %w0, %tid.x; mov.u32 %w1, %ctaid.x;\n";

fn fault(body: &str, block: u32, grid: u32) -> (i32, String) {
    let text = with_body(&format!("{START}{body}"));
    let fault = Run { grid, ..Run::new(&text, block) }.words().unwrap_err();
    (fault.code, fault.text)
}

#[track_caller]
fn check(found: (i32, String), code: i32, parts: &[&str]) {
    assert_eq!(found.0, code, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "{} does not say {part}", found.1);
    }
}

#[test]
fn overruns_of_global_memory() {
    let body = "mad.wide.u32 %d9, %w0, 4, %d9;\nst.global.u32 [%d9+4], %w0;";
    let place =
        ["block [0, 0, 0] warp 1", "line 14", "lane 31", "writes 4 bytes", "byte 256 of 256"];
    check(fault(body, 64, 1), code::ILLEGAL_ADDRESS, &place);
    let body = "ld.global.v4.u32 {%w2, %w3, %w4, %w5}, [%d8+56];";
    check(fault(body, 1, 1), code::MISALIGNED_ADDRESS, &["no multiple of 16"]);
    let body = "mov.b64 %d1, 0; ld.global.u32 %w2, [%d1];";
    check(fault(body, 1, 1), code::ILLEGAL_ADDRESS, &["reads 4 bytes at 0x0"]);
}

#[test]
fn overruns_of_shared_and_local_memory() {
    let body = ".shared .align 4 .b8 x[128]; shl.b32 %w2, %w0, 2; mov.u32 %w3, x;
        add.u32 %w3, %w3, %w2; st.shared.u32 [%w3+4], %w0;";
    check(fault(body, 32, 1), code::ILLEGAL_ADDRESS, &["lane 31", "at 128 of 128", "Shared"]);
    let body = ".local .align 4 .b8 y[16]; mov.b64 %d1, y; ld.local.u32 %w2, [%d1+16];";
    check(fault(body, 1, 1), code::ILLEGAL_ADDRESS, &["at 16 of 16", "Local"]);
    let body = ".local .align 4 .b8 y[16]; mov.b64 %d1, y; cvta.local.u64 %d1, %d1;
        st.u32 [%d1+16], %w0;";
    check(fault(body, 1, 1), code::ILLEGAL_ADDRESS, &["at 16 of 16", "Local"]);
}

#[test]
fn dynamic_shared_memory_ends_where_the_launch_says() {
    let text = with_body(&format!(
        "{START} shl.b32 %w2, %w0, 2; mov.u32 %w3, parts; add.u32 %w3, %w3, %w2;
        st.shared.u32 [%w3], %w0;"
    ));
    let text = text.replace(".visible", ".extern .shared .align 16 .b8 parts[];\n.visible");
    assert!(Run { dynamic: 128, ..Run::new(&text, 32) }.words().is_ok());
    let fault = Run { dynamic: 124, ..Run::new(&text, 32) }.words().unwrap_err();
    check((fault.code, fault.text), code::ILLEGAL_ADDRESS, &["lane 31"]);
}

#[test]
fn a_missing_barrier() {
    let body = ".shared .align 4 .b8 x[256]; shl.b32 %w2, %w0, 2; mov.u32 %w3, x;
        add.u32 %w4, %w3, %w2; st.shared.u32 [%w4], %w0;
        xor.b32 %w2, %w2, 128; add.u32 %w4, %w3, %w2; ld.shared.u32 %w5, [%w4];";
    for order in [0, 1] {
        let text = with_body(&format!("{START}{body}"));
        let mut run = Run::new(&text, 64);
        run.settings.order = order;
        let fault = run.words().unwrap_err();
        check((fault.code, fault.text), code::LAUNCH_FAILED, &["race", "no barrier between"]);
        run.settings.finds_races = false;
        assert!(run.words().is_ok());
    }
}

#[test]
fn blocks_that_use_the_same_word() {
    let write = "st.global.u32 [%d9], %w1;";
    check(fault(write, 1, 2), code::LAUNCH_FAILED, &["race", "block 0 writes"]);
    let both = "mad.wide.u32 %d1, %w1, 4, %d9; st.global.u32 [%d1], %w1;
        ld.global.u32 %w2, [%d9];";
    check(fault(both, 2, 2), code::LAUNCH_FAILED, &["race", "reads", "block 0 writes"]);
}

#[test]
fn lanes_that_never_come() {
    let body = "setp.eq.u32 %p1, %w0, 0; @%p1 bra A; bar.sync 0; bra ON;
        A: bar.warp.sync -1; ON: ret;";
    check(fault(body, 32, 1), code::LAUNCH_FAILED, &["no thread can go on", "Lanes"]);
    let body = "shfl.sync.idx.b32 %w2, %w0, 0, 31, 1;";
    check(fault(body, 32, 1), code::LAUNCH_FAILED, &["its members are 00000001"]);
}

#[test]
fn kernels_that_do_not_end() {
    let body = "WAIT: ld.volatile.global.u32 %w2, [%d9]; setp.eq.u32 %p1, %w2, 0; @%p1 bra WAIT;";
    let text = with_body(&format!("{START}{body}"));
    let mut run = Run { is_cooperative: true, ..Run::new(&text, 1) };
    run.settings = Default::default();
    let fault = run.words().unwrap_err();
    check((fault.code, fault.text), code::LAUNCH_FAILED, &["does not end"]);
}

#[test]
fn launches_that_cannot_be() {
    let text = with_body("ret;").replace("\n{", "\n.maxntid 64, 1, 1\n{");
    assert!(Run::new(&text, 64).words().is_ok());
    let fault = Run::new(&text, 65).words().unwrap_err();
    check((fault.code, fault.text), code::INVALID_VALUE, &["65 threads, 64 at most"]);
    let text = with_body("ret;").replace("\n{", "\n.reqntid 64\n{");
    assert_eq!(Run::new(&text, 32).words().unwrap_err().code, code::INVALID_VALUE);
}

#[test]
fn text_that_is_no_ptx() {
    let refuse = |body: &str| {
        let text = with_body(body);
        let fault = Run::new(&text, 1).words().unwrap_err();
        assert_eq!(fault.code, code::INVALID_PTX);
        fault.text
    };
    assert!(refuse("frob.u32 %w0, %w1;").contains("line 11: frob.u32"));
    assert!(refuse("add.u32 %w0, %w1;").contains("3 operands"));
    assert!(refuse("add.u32 %w0, %w1, %d2;").contains("another size"));
    assert!(refuse("add.u32 %w0, %w1, %x2;").contains("neither a register nor a number"));
    assert!(refuse("bra NOWHERE;").contains("no label NOWHERE"));
    assert!(refuse("add.rz.f32 %w0, %w1, %w2;").contains("does not know"));
    let function = ".version 7.0\n.target sm_72\n.func f()\n{\nret;\n}\n";
    let fault = ptx::parse(function, &mut |_| Ok(0)).unwrap_err();
    assert!(fault.text.contains("device functions"));
}

#[test]
fn headers_say_what_is_needed() {
    let header = |target| ptx::header(&format!(".version 7.4\n.target {target}\n"));
    assert_eq!(header("sm_87").unwrap().version, 74);
    assert_eq!(header("sm_90a").unwrap(), ptx::Header { version: 74, target: 90, is_exact: true });
    assert_eq!(header("gpu").unwrap_err().code, code::INVALID_PTX);
}
