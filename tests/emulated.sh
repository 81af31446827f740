# shellcheck shell=bash
# Building test programs for ARM and running them under an emulator of single programs. To be
# sourced, from the root of the project.
#
# Most of the time would be the compiler's, so it optimises only what emulators run for long. Tests
# with inputs by chance take fewer of them than on the machine's own processor: what differs here is
# the instructions, and the width of an address.
export PROPTEST_CASES=${PROPTEST_CASES:-32}

# Finds compiler and emulator for a target and tells cargo of them.
use_target() { # target triplet emulator
    local name=${1//-/_}
    command -v "$2-gcc" >/dev/null && command -v "$3" >/dev/null || return 1
    RUSTC=$(source boards/release/common.sh && rustc_for "$1") || return 1
    export RUSTC CARGO_BUILD_TARGET=$1
    export "CARGO_TARGET_${name^^}_LINKER=$2-gcc"
    # The same libraries for loader and program, whatever else the machine has for ARM.
    export "CARGO_TARGET_${name^^}_RUNNER=$3 ${CPU:+-cpu $CPU} -L /usr/$2 \
-E LD_LIBRARY_PATH=/usr/$2/lib"
    # Cargo lets only one build at a time into a folder, and this machine's tests are built
    # meanwhile.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/emulated
    export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
    export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_TEST_OPT_LEVEL=0
}

# The same packages in every call: with others, what they share would be compiled anew. Without the
# features of kinglet-tests, what it compares with here is not built.
EMULATED=(--no-default-features)
EMULATED+=(-p kinglet-tests -p kinglet-quant -p kinglet-core -p kinglet-backends)
emulated_at() { # opt-level packages...
    local package profile
    for package in "${@:2}"; do
        for profile in dev test; do
            EMULATED+=(--config "profile.$profile.package.$package.opt-level=$1")
        done
    done
}
emulated_at 2 kinglet-{quant,core,backends} bytemuck half libm safetensors sha2
emulated_at 1 kinglet kinglet-tests
emulated_at 0 gemm-{common,f32} matrixmultiply ndarray pulp regex-automata
