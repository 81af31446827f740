# shellcheck shell=bash
# What tests of packages share. To be sourced, from the root of the project.

# The exit code of what cannot be tested here; the last line says why.
readonly SKIPPED=77

skip() { # reason
    echo "$1" >&2
    exit "$SKIPPED"
}

# Sets KINGLET to this machine's command, and builds it unless tests/run has.
build_command() {
    [[ -z ${KINGLET:-} ]] || return 0
    cargo build --quiet -p kinglet-cli
    KINGLET=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/kinglet
    export KINGLET
}

# Fills the lists of packages where there are none, as in a fresh container.
ready_apt() {
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || apt-get update -qq >/dev/null || true
}

need() { # command-or-file...
    local what
    for what in "$@"; do
        [[ -e $what ]] || command -v "$what" >/dev/null || skip "$what is missing: tests/install"
    done
}

# Where this machine gets Debian's packages from.
debian_site() {
    local site
    ready_apt
    # shellcheck disable=SC2016
    site=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' \
        'Origin: Debian' 2>/dev/null | sed -nE 's/^([^ ]+) [a-z]+$/\1/p' | head -n 1)
    [[ -n $site ]] || skip "apt knows no mirror of Debian"
    echo "$site"
}

# Downloads a package and unpacks it into a folder, without installing it.
unpack_package() { # package[:architecture] folder
    mkdir -p "$2"
    ready_apt
    if [[ $1 == *:* && $(dpkg --print-foreign-architectures) != *"${1#*:}"* ]]; then
        dpkg --add-architecture "${1#*:}"
        apt-get update -qq >/dev/null || true
    fi
    (cd "$2" && apt-get download -qq "$1" 2>/dev/null) || skip "$1 cannot be downloaded"
    dpkg-deb -x "$2/${1%:*}"_*.deb "$2"
}
