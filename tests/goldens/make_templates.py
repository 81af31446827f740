"""How transformers renders the templates in `templates/` on its conversations: `templates.json`.

    pip install transformers==5.24.0 jinja2
    python make_templates.py

For each template, a list with one entry for each conversation: the first 16 digits of the text's SHA-256,
or null where the template refuses the conversation. The text of the first conversation is kept whole.
"""

import datetime
import hashlib
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


class Clock(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 3, 5, 14, 7, 9)


chat_template_utils.datetime = Clock


def render(template, conversation):
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[conversation["messages"]],
            chat_template=template,
            add_generation_prompt=conversation["add_generation_prompt"],
            **SPECIALS,
        )
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return texts[0], None


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


conversations = json.loads((HERE / "templates/conversations.json").read_text())
goldens = {}
for path in sorted((HERE / "templates").glob("*.jinja")):
    template = path.read_bytes().decode()
    rendered = [render(template, conversation) for conversation in conversations]
    texts = [text for text, _ in rendered]
    hashes = [None if text is None else digest(text) for text in texts]
    goldens[path.stem] = {"first": texts[0], "sha256": hashes}
    errors = {error for _, error in rendered if error}
    print(path.stem, sum(text is None for text in texts), *sorted(errors)[:3], sep="\t")
(HERE / "templates.json").write_text(json.dumps(goldens, indent=0, ensure_ascii=False) + "\n")
