//! The kernels that are shipped can be read.

use kinglet_stand_in::ptx;
use std::path::Path;

#[test]
fn every_shipped_kernel_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../backends/src/cuda/ptx");
    let Ok(files) = std::fs::read_dir(&folder) else {
        return eprintln!("SKIPPED every_shipped_kernel_is_understood: there are no kernels");
    };
    for file in files.map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "ptx") {
            let text = std::fs::read_to_string(&file).unwrap();
            let module = ptx::parse(&text, &mut |_| Ok(1 << 20));
            let module = module.unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
            assert_eq!(module.kernels.len(), text.matches(".entry").count());
        }
    }
}
