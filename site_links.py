"""Lets links of the documentation that leave docs/ lead to the repository, where they lead when read there."""

import re
from typing import Any


def on_page_markdown(markdown: str, config: dict[str, Any], **_: Any) -> str:
    return re.sub(r"\]\(\.\./", f"]({config['repo_url']}/blob/HEAD/", markdown)
