"""The reply store: what a model answered, kept so that no answer is paid for twice.

::

    open_store(memory)        the store below a path or a joblib.Memory location
    ReplyStore                get_many, claim, put, ... on one SQLite file
    request_key(request)      the digest under which a reply is kept
    request_keys(request, contents)    the digests of requests that differ in their text only
    encode_reply, decode_reply    Reply <-> JSON text

Layers, from the inside out: ``_keys`` and ``_codec`` are pure; ``_leases`` decides who may pay,
and ``_spending`` how much; ``_schema`` says what a sound file has, ``_damage`` what SQLite's words
mean; ``_connections`` opens the file; ``_repair`` salvages a damaged one, with ``_pages``, and
``_place`` puts it in its place; ``_file`` is the file in use; ``_store`` puts them together;
``_exchange`` moves replies between stores, ``_forget`` deletes some, ``_tally`` keeps what they
had cost; ``_locate`` finds the file.
"""

from sklfusion.replies._codec import decode_reply, encode_reply
from sklfusion.replies._keys import KEY_VERSION, request_key, request_keys
from sklfusion.replies._locate import open_store
from sklfusion.replies._store import ReplyStore

__all__ = [
    "KEY_VERSION",
    "ReplyStore",
    "decode_reply",
    "encode_reply",
    "open_store",
    "request_key",
    "request_keys",
]
