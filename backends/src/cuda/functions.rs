//! The kernels by name.

use super::device::Device;
use super::module::{Function, Module};
use kinglet_quant::Result;
use std::sync::Arc;

macro_rules! functions {
    ($($name:ident)*) => {
        /// Every kernel of `kernels/`, loaded.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub $name: Function,)*
            _module: Module,
        }

        impl Functions {
            /// Has the driver compile the kernels for the device.
            pub fn load(device: &Arc<Device>) -> Result<Self> {
                let module = Module::load(device)?;
                Ok(Self {
                    $($name: module.function(
                        const {
                            match core::ffi::CStr::from_bytes_with_nul(
                                concat!(stringify!($name), "\0").as_bytes(),
                            ) {
                                Ok(name) => name,
                                Err(_) => panic!("names have no zeros"),
                            }
                        },
                    )?,)*
                    _module: module,
                })
            }
        }
    };
}

functions! {
    embed norm quantize silu_mul keep append attend join
    product_one product_many
    margins screen_one screen_many threshold rescore collect
}
