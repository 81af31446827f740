//! Gives the library the name by which programs ask for NVIDIA's driver.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
        // Its functions call each other without their names, which tests take away one by one.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    }
}
