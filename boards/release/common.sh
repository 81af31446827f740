# shellcheck shell=bash disable=SC2034
# What the release scripts share. To be sourced, from the root of the project.

VERSION=$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' Cargo.toml)

# Where Cargo builds.
readonly BUILT=${CARGO_TARGET_DIR:-target}

# The oldest C library that the builds run with: that of Debian 11, Ubuntu 20.04 and JetPack 5.
readonly GLIBC=2.31

# Zig links for an old glibc; cargo-zigbuild hands it to cargo. Both come as Python packages.
readonly ZIG=(ziglang==0.17.1 cargo-zigbuild==0.24.0)

die() { # message
    echo "error: $1" >&2
    exit 1
}

# Debian's name of an architecture to Rust's target.
target_of() { # arch
    case $1 in
    arm64) echo aarch64-unknown-linux-gnu ;;
    amd64) echo x86_64-unknown-linux-gnu ;;
    *) die "there are no packages for $1: choose arm64 or amd64" ;;
    esac
}

# Debian's name of an architecture to the folder of its libraries.
triplet_of() { # arch
    local target
    target=$(target_of "$1")
    echo "${target/-unknown/}"
}

# The compiler that has a standard library for the target: rustup's, else Debian's.
rustc_for() { # target
    local rustc
    if command -v rustup >/dev/null && rustup target add "$1" >/dev/null 2>&1; then
        echo rustc
        return
    fi
    for rustc in rustc /usr/bin/rustc; do
        if [[ -d $("$rustc" --print target-libdir --target "$1" 2>/dev/null) ]]; then
            echo "$rustc"
            return
        fi
    done
    die "no standard library for $1: install rustup, or Debian's libstd-rust-web-dev"
}

# Puts zig and cargo-zigbuild into target/zig, once.
fetch_zig() {
    if [[ ! -x target/zig/bin/cargo-zigbuild ]]; then
        python3 -m venv target/zig
        target/zig/bin/pip install --quiet "${ZIG[@]}"
    fi
}

# Tells cargo-zigbuild how to build for a target.
prepare_build() { # target
    fetch_zig
    RUSTC=$(rustc_for "$1")
    export RUSTC PATH=$PWD/target/zig/bin:$PATH
    # Paths of this machine have no place in a release; names of functions tell their instances.
    # Asked to leave out what debuggers need, as Cargo does, Zig's linker leaves out all names, by
    # which tests/release/instructions.py looks at functions. Packages have none.
    export RUSTFLAGS="--remap-path-prefix=$PWD=. \
--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo -Csymbol-mangling-version=v0 -Cstrip=none"
}
