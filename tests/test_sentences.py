"""Sentences written by language models: what servers and models answer, pairs in a file, and what they give away."""

import contextlib
import http.server
import json
import socket
import sys
import threading

import pandas as pd
import pytest
import tiny
import torch
from transformers import AutoTokenizer

from studies.audibility import near_duplicates
from studies.auditing import shortcuts
from studies.pairs import generate, read_pairs, read_prompt
from studies.writers import Endpoint, LocalModel
from zscap.errors import InvalidData, InvalidOption, MissingWeights, UnwritableOutput

PROMPT = "Write pairs about $topic:\n"
KEY = "sk-secret-0123456789"
SOON = {"retry-after-ms": "1"}


def reply(seed: int) -> str:
    """Five lines of an answer: three new pairs, the first of them repeated, and one that isn't a pair."""
    pairs = [f"A dog barks {seed} times {n}. | A dog sits {seed} times {n}." for n in range(3)]
    first = pairs[0].split(" | ")
    return "\n".join(["Here you are:", *pairs, f"4. {first[0].upper()} | A cat sleeps, number {seed}."])


def completion(content: object, finish_reason: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish_reason}]}).encode()


class Chat(http.server.BaseHTTPRequestHandler):
    """Gives the server's `answers` in turn (status, content, headers), then replies; keeps what it was asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append({"path": self.path, "headers": headers, **body})
        answers = self.server.answers
        status, content, headers = answers.pop(0) if answers else (200, completion(reply(body.get("seed", 0))), {})
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": len(content)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def chat_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat) as httpd:
        httpd.asked, httpd.answers = [], []
        httpd.url = f"http://127.0.0.1:{httpd.server_port}/v1"
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield httpd
        httpd.shutdown()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with chat_server() as httpd:
        yield httpd


def endpoint(server, **options) -> Endpoint:
    return Endpoint("some-model", server.url, **options)


@contextlib.contextmanager
def refused(kind, match: str):
    """Raises an error of one line without the key."""
    with pytest.raises(kind, match=match) as error:
        yield
    assert str(error.value).isprintable() and KEY[:8] not in str(error.getrepr(style="native"))


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([(500, b"overloaded", SOON), (429, b"slow down", SOON), (200, completion("Hello."), {})], "Hello."),
        ([(200, completion("A dog barks. | A dog sits.\nA bell ri", "length"), {})], "A dog barks. | A dog sits."),
        ([(200, completion(None), {})], ""),
    ],
    ids=["a busy server is asked again", "an answer that was cut off loses its last line", "no content"],
)
def test_what_an_endpoint_answers(server, answers, text):
    server.answers += answers
    assert endpoint(server, settings={"temperature": 0.7})("Write pairs.", 7) == text
    assert not server.answers
    asked = {"path": "/v1/chat/completions", "model": "some-model", "temperature": 0.7, "seed": 7}
    assert asked.items() <= server.asked[0].items()
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Write pairs."}]


NO_COMPLETIONS = [b"<html>hello</html>", b'{"choices": []}', b'{"choices": [3]}', b'"text"', b"\xff", b"", b"[" * 10**5]


@pytest.mark.parametrize("content", [*NO_COMPLETIONS, completion([{"type": "text"}]), completion(3)], ids=len)
def test_what_is_no_completion_is_refused(server, content):
    server.answers.append((200, content, {}))
    with refused(InvalidData, "gives no completion"):
        endpoint(server)("prompt", 0)


def test_a_server_that_refuses_or_stays_faulty_or_silent_is_given_up(server):
    server.answers += [(404, b'{"error":\n "unknown parameter"}', {}), *[(503, b"", SOON)] * 3]
    with refused(InvalidOption, rf"{server.url}.*HTTP 404 unknown parameter.*'some-model'.*OPENAI_API_KEY"):
        endpoint(server)("prompt", 0)
    assert len(server.asked) == 1
    with refused(InvalidData, r"gives no completion \(HTTP 503"):
        endpoint(server, retries=2)("prompt", 0)
    assert len(server.asked) == 1 + 3
    with socket.create_server(("127.0.0.1", 0)) as silent, refused(InvalidData, "timed out"):
        Endpoint("m", f"http://127.0.0.1:{silent.getsockname()[1]}/v1", retries=0, timeout=0.05)("prompt", 0)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        *((f"http://{host}/v1", "") for host in ("127.0.0.1:9", "[::1", "a..b")),
        *(("http://host/v1", f"{scheme}://127.0.0.1") for scheme in ("socks5", "foo")),
    ],
)
def test_an_address_or_a_proxy_that_does_not_work_is_told(monkeypatch, url, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "" if proxy else "*")
    with pytest.raises(InvalidData, match=r"gives no completion .*base_url.*the proxy"):
        Endpoint("m", url, retries=0)("prompt", 0)


def test_the_key_stays_with_its_server(server, monkeypatch):
    with chat_server() as elsewhere:
        place = elsewhere.url.replace("127.0.0.1", "localhost")
        server.answers.append((308, b"", {"Location": f"{place}/chat/completions"}))
        endpoint(server)("prompt", 0)
        (asked,) = elsewhere.asked
    assert server.asked[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert "secret" not in str(asked)
    endpoint(server, api_key_variable="ANOTHER", settings={"seed": None})("prompt", 3)
    assert "secret" not in str(server.asked[-1])  # neither the one for OpenAI nor that of Hugging Face's hub
    assert "seed" not in server.asked[-1]


REPEATED = {  # an answer of the server that has the key
    "in an error": (401, json.dumps({"error": {"message": f"wrong\nkey: Bearer {KEY}"}}).encode(), {}),
    "at the cut": (401, b"x" * 280 + KEY.encode(), {}),
    "of a faulty server": (500, KEY.encode(), {"Content-Type": "text/plain"}),
    "in no completion": (200, KEY.encode(), {}),
}


@pytest.mark.parametrize("where", REPEATED)
def test_a_server_that_repeats_the_key_finds_it_in_no_message(server, where):
    server.answers.append(REPEATED[where])
    with refused((InvalidData, InvalidOption), "gives no completion"):
        endpoint(server, retries=0)("prompt", 0)


def test_a_completion_that_repeats_the_key_takes_it_nowhere(server):
    server.answers.append((200, completion(f"I was sent: Bearer {KEY}"), {}))
    assert endpoint(server)("prompt", 0) == "I was sent: Bearer [key]"


@pytest.mark.parametrize("between", ["\n", "é", "\x00"])
def test_a_key_that_no_header_can_hold_is_told_by_its_variable(server, monkeypatch, between):
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": KEY + between + KEY})
    with refused(InvalidOption, "OPENAI_API_KEY holds what no header can"):
        endpoint(server)("prompt", 0)


ADDRESSES = ["localhost:11434/v1", "file:///etc/passwd", "http://", f"http://someone:{KEY}@host/v1"]


@pytest.mark.parametrize("options", [*({"base_url": url} for url in ADDRESSES), {"api_key_variable": KEY}], ids=str)
def test_what_leads_to_no_server_is_refused_at_once(options):
    with refused(InvalidOption, f"{next(iter(options))}.* must be"):
        Endpoint("m", **options)


def test_an_endpoint_says_what_it_needs(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InvalidOption, match="needs the package openai: pip install"):
        endpoint(server)("prompt", 0)


def test_a_local_model_samples_by_the_seed_and_takes_a_chat_template(tmp_path):
    tiny.language_model(tmp_path)
    bias = {tuple(AutoTokenizer.from_pretrained(tmp_path)("\n").input_ids): 6.0}  # towards new lines
    short, long, chat = (
        LocalModel.load(tmp_path, max_new_tokens=number, sequence_bias=bias) for number in (20, 40, 20)
    )
    state = torch.get_rng_state()
    answer = short("a man sings", seed=1)
    assert short("a man sings", seed=1) == answer != short("a man sings", seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert long("a man sings", seed=1).startswith(answer + "\n")  # of an answer that was cut off, the last line goes
    chat.tokenizer.chat_template = "{% for m in messages %}a man {{ m.content }}{% endfor %}"
    assert chat("sings", seed=1) == answer
    with pytest.raises(InvalidOption, match=r"max_new_tokens=20: the prompt has .* the model reads 64"):
        short("a man sings now " * 20, seed=0)
    with pytest.raises(MissingWeights, match="nowhere"):
        LocalModel.load(tmp_path / "nowhere")


class Script:
    """A writer that gives these answers in turn, then replies, and is interrupted after some of them."""

    name = "some-model"

    def __init__(self, *answers: str, interrupted_after: int = 100):
        self.answers, self.left, self.asked = list(answers), interrupted_after, []

    def __call__(self, prompt, seed):
        if len(self.asked) == self.left:
            raise KeyboardInterrupt
        self.asked.append((prompt, seed))
        return self.answers.pop(0) if self.answers else reply(seed)


def test_pairs_are_balanced_and_none_is_there_twice(tmp_path, capsys):
    writer = Script()
    table = generate(writer, PROMPT, tmp_path / "new/pairs.jsonl", pairs=7, topics=["dogs", "cats"], progress=True)
    assert "7/7" in capsys.readouterr().err
    assert [prompt.split()[-1] for prompt, _ in writer.asked] == ["dogs:", "cats:", "dogs:"]
    assert [seed for _, seed in writer.asked] == [0, 1, 2]
    assert len(table) == 14
    assert table.groupby("pair").label.sum().eq(1).all()
    assert table.text.str.casefold().is_unique
    assert table.text[0] == "A dog barks 0 times 0."
    pd.testing.assert_frame_equal(read_pairs(tmp_path / "new/pairs.jsonl"), table)


def test_an_answer_is_cleaned(tmp_path):
    lines = [
        "<think>\nA draft of one | A draft of two\n</think>",
        "| Audible | Not audible |",
        "|---|---|",
        '1. "A dog barks at night." | "A dog sits at night."',
        "- **A bell rings here.** | **A bell hangs here.**",
        "| A cat \ud800 meows. | A cat \N{GRINNING FACE} sleeps. |",
        "Too short. | Far too short, this one.",
        f"A sentence {'that is long ' * 10}. | A short sentence here.",
        "A dog barks. | A dog barks !",
        "a | b | c",
        "<think>And one more pair | And one less pair",
    ]
    table = generate(Script("", "\n".join(lines)), PROMPT, tmp_path / "pairs.jsonl", pairs=3, topics=[])
    assert table.text.tolist() == [
        "A dog barks at night.",
        "A dog sits at night.",
        "A bell rings here.",
        "A bell hangs here.",
        "A cat ? meows.",  # half a character, which no file can hold
        "A cat \N{GRINNING FACE} sleeps.",
    ]


def test_a_run_that_was_cut_off_goes_on_to_the_same_file(tmp_path):
    ways = {"topics": ["x\u2028y"], "seed": 5}
    generate(Script(), PROMPT, tmp_path / "whole.jsonl", pairs=11, **ways)
    file = tmp_path / "pairs.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate(Script(interrupted_after=0), PROMPT, file, pairs=11, **ways)
    assert len(read_pairs(file)) == 0
    with pytest.raises(KeyboardInterrupt):
        generate(Script(interrupted_after=1), PROMPT, file, pairs=11, **ways)
    generate(Script(), PROMPT, file, pairs=5, **ways)  # takes some of an answer's pairs
    again = Script()
    assert len(generate(again, PROMPT, file, pairs=11, **ways)) == 22
    assert [seed for _, seed in again.asked] == [6, 7, 8]
    assert file.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    generate(Script(interrupted_after=0), PROMPT, file, pairs=11, **ways)  # nothing is left to ask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "whole.jsonl"]


def test_a_file_of_another_run_is_left_alone(tmp_path):
    file = tmp_path / "pairs.jsonl"
    generate(Script(), PROMPT, file, pairs=3, topics=["x"])
    before = file.read_bytes()
    for change in ({"seed": 1}, {"prompt": "Other"}, {"topics": ["y"]}):
        with pytest.raises(UnwritableOutput, match=f"another {next(iter(change))}"):
            generate(Script(), **{"prompt": PROMPT, "file": file, "pairs": 6, "topics": ["x"], **change})
    assert file.read_bytes() == before
    first, pair, *_ = before.splitlines(keepends=True)
    foreign = [b"text,label\nA dog barks,1\n", b'{"a": 1}\n', b'{"prompt": ""}\n{"text": ""}\n', b"[1]\n", b"\xff\n"]
    foreign += [b"", b"3\n", b"{}", b"one line of somebody's notes", first + pair + b"notes", first + b"notes\n" + pair]
    foreign += [first[:-20], first[:-2] + b', "more": 1}\n', before[:-20], first + b"[" * 10**5 + b"\n"]
    foreign += [first + pair.replace(b": 0", b": " + number) for number in (b"NaN", b"9" * 5000, b'"x"')]
    for content in foreign:
        file.write_bytes(content)
        with pytest.raises(InvalidData, match="can't be read as pairs"):
            generate(Script(), PROMPT, file, pairs=6, topics=["x"])
        assert file.read_bytes() == content


@pytest.mark.parametrize("name", ["file/x", "x" * 300])
def test_files_that_cannot_be_are_told(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableOutput, match="can't be written"):
        generate(Script(interrupted_after=0), PROMPT, tmp_path / name, pairs=6)  # before anything is asked
    with pytest.raises(InvalidData, match="can't be read"):
        read_pairs(tmp_path / name)


def test_a_model_that_repeats_itself_is_given_up(tmp_path):
    model = Script(*[reply(0)] * 9)
    with pytest.raises(InvalidData, match="4 answers in a row brought no new pair, 3 of 10 are in"):
        generate(model, PROMPT, tmp_path / "pairs.jsonl", pairs=10, patience=4)
    assert [seed for _, seed in model.asked] == list(range(5))
    assert len(read_pairs(tmp_path / "pairs.jsonl")) == 6


def test_prompts_ship_and_are_filled_in():
    assert "Write 15 pairs of sentences about $topic" in read_prompt("audible", number=15)
    examples = [("A dog barks.", "A dog barking."), ("Rain falls.", "Rain falling.")]
    fields = {"property": "simple present", "definition": "It has a finite verb.", "examples": examples}
    text = read_prompt("property", **fields)
    assert text.endswith("A dog barks. | A dog barking.\nRain falls. | Rain falling.\n")
    assert "this property: simple present.\n\nIt has a finite verb.\n" in text
    assert "$" not in text.replace("$topic", "")
    with pytest.raises(InvalidOption, match="needs 'definition'"):
        read_prompt("property", property="x", examples=examples)
    with pytest.raises(InvalidOption, match="no field 'defintion': did you mean 'definition'"):
        read_prompt("property", **fields, defintion="x")
    for unknown in ("audble", "x" * 5000):
        with pytest.raises(InvalidData, match=f"no prompt '{unknown[:9]}"):
            read_prompt(unknown)


def test_near_duplicates_in_several_folds_would_give_the_labels_away():
    texts = [f"A dog number{n // 4} barks at post{n // 4}." for n in range(80)]
    labels = [n // 4 % 2 for n in range(80)]
    assert shortcuts(texts, labels, near_duplicates(texts)).loc["single words (naive Bayes)", "auc"] < 0.7
    assert shortcuts(texts, labels).loc["single words (naive Bayes)", "auc"] == 1


ANIMALS = ["a dog", "a cat", "a bell", "a car", "a hen"]


def test_what_cannot_be_audited_is_refused():
    for texts, labels in (
        ([], []),
        (["a b"] * 9, [1] * 9),
        (["a b"], [1, 0]),
        ([" "] * 6, [1, 0] * 3),
        (ANIMALS, ["yes", "no", "yes", "no", "yes"]),
        (ANIMALS, [1, 0, 0, 0, 0]),  # a class in one group
    ):
        with pytest.raises(InvalidData):
            shortcuts(texts, labels)
