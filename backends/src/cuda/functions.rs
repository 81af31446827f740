//! The kernels by name.

use super::device::Device;
use super::module::{Function, Module};
use super::ptx::{KERNELS, Ptx, TENSOR_KERNELS};
use kinglet_quant::Result;
use std::sync::Arc;

macro_rules! c_string {
    ($name:ident) => {
        const {
            let name = concat!(stringify!($name), "\0").as_bytes();
            match core::ffi::CStr::from_bytes_with_nul(name) {
                Ok(name) => name,
                Err(_) => panic!("names have no zeros"),
            }
        }
    };
}

macro_rules! functions {
    ($($name:ident)*; $($of_tensor:ident)*) => {
        /// Every kernel of `kernels/`, loaded.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub $name: Function,)*
            $(/// None where the device lacks the instructions.
            pub $of_tensor: Option<Function>,)*
            _modules: (Module, Option<Module>),
        }

        impl Functions {
            /// Has the driver compile the kernels for the device.
            pub fn load(device: &Arc<Device>, ptx: Ptx) -> Result<Self> {
                let module = Module::load(device, KERNELS)?;
                let of_tensor = match ptx {
                    Ptx::Dot => None,
                    Ptx::Tensor => Some(Module::load(device, TENSOR_KERNELS)?),
                };
                Ok(Self {
                    $($name: module.function(c_string!($name))?,)*
                    $($of_tensor: match &of_tensor {
                        Some(module) => Some(module.function(c_string!($of_tensor))?),
                        None => None,
                    },)*
                    _modules: (module, of_tensor),
                })
            }

            /// The name of one of these.
            #[cfg(feature = "check")]
            pub fn name(&self, function: Function) -> &'static str {
                $(if self.$name == function {
                    return stringify!($name);
                })*
                $(if self.$of_tensor == Some(function) {
                    return stringify!($of_tensor);
                })*
                panic!("the kernel is of another module")
            }
        }
    };
}

functions! {
    embed norm quantize silu_mul keep append attend join
    product_one product_many
    margins screen_one screen_many threshold rescore collect;
    product_tensor
}
