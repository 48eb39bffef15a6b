"""What libraries say while models load, and what of it a person needs to see: nothing."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Keep the libraries' own bars and hints off the screen; ours say what matters."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    # bitsandbytes tries for a faster kernel on the hub and reports that it has none.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # The hub's client reports each of its retries twice; what failed is said once, by us.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    for old in ("is_gradient_checkpointing", "gradient_checkpointing_enable"):
        warnings.filterwarnings("ignore", f"`{old}` is deprecated", FutureWarning)


def hub_is_out_of_reach() -> bool:
    """Whether the hub's name cannot be looked up: then only what is cached can be loaded."""
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub.constants import ENDPOINT

    try:
        socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return True
    return False
