"""Streams of events from endpoints that were asked for a whole reply."""

import json

import pytest

from sklfusion.llm._faults import CallError
from sklfusion.llm._reply import reply_from_bytes


def events(*pieces, end="\n\n", done=True):
    """Return the body of a stream with these events."""
    lines = [f"data: {json.dumps(piece)}" for piece in pieces] + ["data: [DONE]"] * done
    return end.join(lines).encode()


def piece(text=None, finish=None, index=0, **more):
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


class TestWhole:
    @pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n\n: keep-alive\n\n"])
    def test_pieces_are_put_together(self, end):
        """In their order, whatever stands between them."""
        usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}, "choices": []}
        body = events(piece(""), piece("sp"), piece("am"), piece(finish="stop"), usage, end=end)
        reply = reply_from_bytes(body)
        assert reply.contents == ("spam",)
        assert reply.finish_reasons == ("stop",)
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 2)
        assert reply.logprobs is None

    def test_several_choices(self):
        """Each by its number."""
        body = events(piece("b", index=1), piece("a"), piece(finish="stop", index=1), piece("a"))
        assert reply_from_bytes(body).contents == ("aa", "b")

    def test_log_probabilities_come_along(self):
        """One token after the other."""
        token = {"token": "sp", "logprob": -0.1, "top_logprobs": []}
        body = events(piece("sp", logprobs={"content": [token]}), piece("am", "stop"))
        assert [step.token for step in reply_from_bytes(body).logprobs] == ["sp"]

    def test_the_end_may_be_in_a_choice(self):
        """Some servers send no closing mark."""
        assert reply_from_bytes(events(piece("ham", "stop"), done=False)).contents == ("ham",)


class TestNotWhole:
    @pytest.mark.parametrize(
        "body", [events(piece("sp"), done=False), b"data: {", b"data:", b"<html>", b""]
    )
    def test_is_no_answer(self, body):
        """What was cut might have gone on otherwise."""
        with pytest.raises(CallError) as caught:
            reply_from_bytes(body)
        assert caught.value.fault.kind == "bad_reply"

    def test_an_error_in_it_counts_by_its_code(self):
        """And is not paid."""
        body = events(piece("sp"), {"error": {"code": 429, "message": "slow down"}})
        with pytest.raises(CallError) as caught:
            reply_from_bytes(body)
        assert (caught.value.fault.kind, caught.value.fault.status) == ("wait", 429)
