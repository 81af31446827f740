"""Copies what a GGUF file says of a model beside its weights."""

from gguf import GGUFReader, GGUFValueType, GGUFWriter

WRITTEN_BY_THE_LIBRARY = ["GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"]


def copy_fields(reader: GGUFReader, writer: GGUFWriter, changed: dict[str, int]) -> None:
    """Copies the vocabulary and the settings; those in `changed` get other values."""
    skipped = [*WRITTEN_BY_THE_LIBRARY, "general.architecture", "general.file_type"]
    for name, field in reader.fields.items():
        if name in skipped:
            continue
        value = changed.get(name, field.contents())
        items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], items)


def write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
