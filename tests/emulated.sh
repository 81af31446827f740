# How tests are compiled for emulators, for the scripts that source this: most of the time would be
# the compiler's, so it optimises only what emulators run for long.

# Models are converted there, too.
unset KINGLET_TEST_REUSE
# Cargo lets only one build at a time into a folder, and this machine's tests are built meanwhile.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/emulated
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_TEST_OPT_LEVEL=0

# The same packages in every call: with others, what they share would be compiled anew.
EMULATED=(-p kinglet-tests -p kinglet-quant -p kinglet-core)
emulated_at() { # opt-level packages...
    local package profile
    for package in "${@:2}"; do
        for profile in dev test; do
            EMULATED+=(--config "profile.$profile.package.$package.opt-level=$1")
        done
    done
}
emulated_at 2 kinglet kinglet-{quant,core,backends,tests} bytemuck half libm safetensors sha2
emulated_at 0 gemm-{common,f32} nano-gemm nano-gemm-f32 private-gemm-x86 pulp regex-automata tokenizers
