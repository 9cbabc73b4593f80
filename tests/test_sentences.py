import contextlib
import gzip
import http.server
import json
import socket
import threading
import time
import traceback
import tracemalloc
from random import Random

import pandas as pd
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from studies.audibility import load_audibility
from studies.auditing import audit, shortcuts
from studies.pairs import PROMPTS, Endpoint, LocalModel, generate, read_pairs, read_prompt
from zscap import EmbeddingClassifier
from zscap.classifiers.training import fit
from zscap.errors import InvalidData, InvalidOption, MissingWeights, UnwritableOutput

PROMPT = "Write pairs about $topic:\n"
KEY = "sk-secret-0123456789"


def reply(seed: int) -> str:
    """Five lines of an answer: three new pairs, the first of them repeated, and one that isn't a pair."""
    pairs = [f"A dog barks {seed} times {n}. | A dog sits {seed} times {n}." for n in range(3)]
    first = pairs[0].split(" | ")
    return "\n".join(["Here you are:", *pairs, f"4. {first[0].upper()} | A cat sleeps, number {seed}."])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


@contextlib.contextmanager
def raw_server(pieces, pause=0.0):
    """The address of a server that sends these bytes to everyone, `pause` seconds apart, whatever HTTP says."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(2**16)
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(2**16):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server():
    """A real web server of chat completions; `answers` is what it does next, then it goes on with `reply`."""

    class Chat(http.server.BaseHTTPRequestHandler):
        asked: list[dict] = []  # noqa: RUF012
        headers_seen: list[dict] = []  # noqa: RUF012
        answers: list = []  # noqa: RUF012

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.asked.append({"path": self.path, **body})
            self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            status, content, headers = self.answers.pop(0) if self.answers else (200, reply(body.get("seed", 0)), {})
            if isinstance(content, str):
                message = {"role": "assistant", "content": content}
                content = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", Chat
        httpd.shutdown()


def endpoint(server, **options) -> Endpoint:
    return Endpoint("some-model", server[0], **{"patience": 0.001, **options})


def test_an_endpoint_writes_balanced_pairs_none_twice(server, tmp_path, capsys):
    _, chat = server
    chat.answers += [(500, b"overloaded", {}), (429, b"slow down", {}), (200, reply(0), {})]
    model = endpoint(server, settings={"temperature": 0.7})
    table = generate(model, PROMPT, tmp_path / "new/pairs.jsonl", pairs=7, topics=["dogs", "cats"], progress=True)
    assert "7/7" in capsys.readouterr().err
    assert [request["seed"] for request in chat.asked] == [0, 0, 0, 1, 2]  # two refusals, then three answers
    assert [request["messages"][0]["content"] for request in chat.asked[2:]] == [
        "Write pairs about dogs:\n",
        "Write pairs about cats:\n",
        "Write pairs about dogs:\n",
    ]
    assert {"path": "/v1/chat/completions", "model": "some-model", "temperature": 0.7}.items() <= chat.asked[0].items()
    assert chat.headers_seen[0]["authorization"] == f"Bearer {KEY}"
    assert len(table) == 14
    assert table.groupby("pair").label.sum().eq(1).all()
    assert table.text.str.casefold().is_unique
    assert table.text[0] == "A dog barks 0 times 0."
    pd.testing.assert_frame_equal(read_pairs(tmp_path / "new/pairs.jsonl"), table)


def test_an_answer_is_cleaned(server, tmp_path):
    thoughts = "<think>\nA draft of one | A draft of two\n</think>\n"
    lines = [
        "| Audible | Not audible |",
        "|---|---|",
        '1. "A dog barks at night." | "A dog sits at night."',
        "- **A bell rings here.** | **A bell hangs here.**",
        "| A cat meows loudly. | A cat sleeps soundly. |",
        "Too short. | Far too short, this one.",
        f"A sentence {'that is long ' * 10}. | A short sentence here.",
        "A dog barks. | A dog barks !",
        "a | b | c",
        "<think>And one more pair | And one less pair",
    ]
    server[1].answers.append((200, thoughts + "\n".join(lines), {}))
    table = generate(endpoint(server), PROMPT, tmp_path / "pairs.jsonl", pairs=3, topics=[])
    assert table.text.tolist() == [
        "A dog barks at night.",
        "A dog sits at night.",
        "A bell rings here.",
        "A bell hangs here.",
        "A cat meows loudly.",
        "A cat sleeps soundly.",
    ]


def test_an_answer_that_was_cut_off_loses_its_last_line(server):
    message = {"content": "A dog barks now. | A dog sits now.\nA bell rings now. | A be"}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}).encode()
    server[1].answers.append((200, body, {}))
    assert endpoint(server)("prompt", 0) == "A dog barks now. | A dog sits now."


class Cut:
    """A writer that is interrupted after some answers."""

    name = "some-model"

    def __init__(self, answers: int):
        self.left, self.seeds = answers, []

    def __call__(self, prompt, seed):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seeds.append(seed)
        return reply(seed)


@pytest.mark.parametrize("kept", ["all of it", "half of a line", "half of an answer", "half of the first line"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_file(tmp_path, kept):
    generate(Cut(10), PROMPT, tmp_path / "whole.jsonl", pairs=11, topics=["x"], seed=5)
    file = tmp_path / "pairs.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate(Cut(2), PROMPT, file, pairs=11, topics=["x"], seed=5)
    written = file.read_bytes()
    lines = written.splitlines(keepends=True)
    assert len(lines) == 1 + 6
    file.write_bytes(
        {
            "all of it": written,
            "half of a line": written[:-20],
            "half of an answer": b"".join(lines[:-2]),
            "half of the first line": lines[0][:-20],
        }[kept]
    )
    again = Cut(10)
    table = generate(again, PROMPT, file, pairs=11, topics=["x"], seed=5)
    assert file.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert len(table) == 22
    assert again.seeds == ([5, 6, 7, 8] if kept == "half of the first line" else [6, 7, 8])
    generate(Cut(0), PROMPT, file, pairs=11, topics=["x"], seed=5)  # nothing is left to ask


def test_a_file_of_another_run_is_left_alone(tmp_path):
    file = tmp_path / "pairs.jsonl"
    generate(Cut(10), PROMPT, file, pairs=3, topics=["x"])
    before = file.read_bytes()
    with pytest.raises(UnwritableOutput, match="another seed"):
        generate(Cut(10), PROMPT, file, pairs=6, topics=["x"], seed=1)
    with pytest.raises(UnwritableOutput, match="another prompt"):
        generate(Cut(10), "Other", file, pairs=6, topics=["x"])
    assert file.read_bytes() == before
    first, pair, *_ = before.splitlines(keepends=True)
    foreign = [
        b"text,label\nA dog barks,1\n",
        b'{"a": 1}\n',
        b'{"prompt": ""}\n{"text": ""}\n',
        b"[1]\n",
        b"\xff\n",
        b"3\n",
    ]
    foreign += [b"one line of somebody's notes", first + pair + b"notes below the pairs", first + b"notes\n" + pair]
    foreign += [first + b'{"wanted": 1, "other": 2, "request": 3}\n', b'{"model": "another", "seed"', b"\n", b"{}"]
    foreign += [b'"prompt"\n', b'["prompt"]\n', first[:-2] + b', "more": 1}\n', first + b"[" * 10**5 + b"\n"]
    foreign += [first + pair.replace(b": 0", b": " + number) for number in (b"NaN", b"9" * 5000, b"true")]
    for content in foreign:
        file.write_bytes(content)
        with pytest.raises(InvalidData, match="was not written by"):
            generate(Cut(10), PROMPT, file, pairs=6, topics=["x"])
        assert file.read_bytes() == content
    with pytest.raises(UnwritableOutput, match="can't be written"):
        generate(Cut(10), PROMPT, tmp_path / "pairs.jsonl" / "x", pairs=6)
    with pytest.raises(InvalidData, match="isn't there"):
        read_pairs(tmp_path / "nowhere")
    for unreadable in (tmp_path, "/proc/self/mem", "x" * 5000):
        with pytest.raises(InvalidData, match="can't be read"):
            read_pairs(unreadable)


def test_a_model_that_repeats_itself_is_given_up(tmp_path):
    class Same(Cut):
        def __call__(self, prompt, seed):
            self.seeds.append(seed)
            return reply(0)

    model = Same(0)
    with pytest.raises(InvalidData, match="4 answers in a row brought no new pair, 3 of 10 are in"):
        generate(model, PROMPT, tmp_path / "pairs.jsonl", pairs=10, patience=4)
    assert model.seeds == list(range(5))
    assert len(read_pairs(tmp_path / "pairs.jsonl")) == 6


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_told_at_once(server, status):
    server[1].answers.append((status, b'{"error":\n "unknown parameter"}', {}))
    with pytest.raises(
        InvalidOption, match=f"HTTP {status} .*unknown parameter.*'some-model'.*OPENAI_API_KEY"
    ) as error:
        endpoint(server)("prompt", 0)
    assert len(server[1].asked) == 1
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"{}", b'{"choices": []}', b'"text"', b"\xff", b"[1]"])
def test_what_is_no_completion_is_refused(server, content):
    server[1].answers.append((200, content, {}))
    with pytest.raises(InvalidData, match="sent no chat completion"):
        endpoint(server)("prompt", 0)


def test_a_server_that_stays_faulty_or_away_is_given_up(server):
    server[1].answers += [(503, b"", {})] * 3
    with pytest.raises(InvalidData, match=r"no answer in 3 tries .HTTP 503"):
        endpoint(server, tries=3)("prompt", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = Endpoint("m", f"http://127.0.0.1:{free.getsockname()[1]}/v1", tries=2, patience=0.001)
    with pytest.raises(InvalidData, match=r"no answer in 2 tries .*refused"):
        away("prompt", 0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mute = Endpoint("m", f"http://127.0.0.1:{silent.getsockname()[1]}/v1", tries=2, patience=0.001, timeout=0.05)
        with pytest.raises(InvalidData, match=r"no answer in 2 tries .*timed out"):
            mute("prompt", 0)
    for base_url in ("localhost:11434/v1", "file:///etc/passwd"):
        with pytest.raises(InvalidOption, match="must begin with http"):
            Endpoint("m", base_url)


def test_the_key_stays_with_its_server(server, tmp_path, monkeypatch):
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        headers_seen: list[dict] = []  # noqa: RUF012

        def do_POST(self):
            self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_error(404)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        server[1].answers.append((308, b"", {"Location": f"http://127.0.0.1:{httpd.server_port}/v1/chat/completions"}))
        with pytest.raises(InvalidOption, match=r"redirects to 'http.*completions' .HTTP 308.: give that in base_url"):
            endpoint(server)("prompt", 0)
        httpd.shutdown()
    assert [headers.get("authorization") for headers in server[1].headers_seen] == [f"Bearer {KEY}"]
    assert all("secret" not in str(headers) for headers in Elsewhere.headers_seen)

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("OPENAI_API_KEY", "")
    endpoint(server, settings={"seed": None})("prompt", 3)
    assert "authorization" not in server[1].headers_seen[-1]  # neither that of Hugging Face's hub nor of .netrc
    assert "seed" not in server[1].asked[-1]


def assert_no_key_in(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error))
    while error:
        told += repr(error)
        error = error.__cause__ or error.__context__
    assert not [start for start in range(len(KEY) - 7) if KEY[start : start + 8] in told], told


ECHO = f'{{"authorization": "Bearer {KEY}"}}'.encode()
REPEATS = {
    "the headers": b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(ECHO), ECHO),
    "at the cut": b"HTTP/1.1 401 No\r\nContent-Length: 300\r\n\r\n" + b"x" * 190 + KEY.encode() + b"x" * 90,
    "half of it": b"HTTP/1.1 500 No\r\nContent-Length: 14\r\n\r\n" + KEY[:14].encode(),
    "no status": b"HTTP/1.1 2x0 %s\r\n\r\n" % KEY.encode(),
    "no length of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % KEY.encode(),
}


@pytest.mark.parametrize("name", REPEATS)
def test_a_server_that_repeats_the_key_finds_it_in_no_message(name):
    with raw_server([REPEATS[name]]) as url, pytest.raises((InvalidData, InvalidOption)) as error:
        Endpoint("m", url, tries=2, patience=0.001)("prompt", 0)
    assert_no_key_in(error.value)
    assert str(error.value).isprintable()


def test_a_completion_that_repeats_the_key_takes_it_nowhere(server):
    server[1].answers.append((200, f"I was sent: Bearer {KEY}", {}))
    assert endpoint(server)("prompt", 0) == "I was sent: Bearer [key]"


@pytest.mark.parametrize("between", ["\n", "é", "\x00", "\udcff"])
def test_a_key_that_no_header_can_hold_is_told_by_its_variable(server, monkeypatch, between):
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": KEY + between + KEY, "no_proxy": "*"})
    with pytest.raises(InvalidOption, match="OPENAI_API_KEY holds what no header can") as error:
        endpoint(server)("prompt", 0)
    assert_no_key_in(error.value)
    with pytest.raises(InvalidOption, match="must be a variable's name") as error:
        endpoint(server, api_key_variable=KEY)
    assert_no_key_in(error.value)


TRICKLES = {
    "headers": b"HTTP/1.1 200 OK\r\nX: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
    "until it closes": b'HTTP/1.1 200 OK\r\n\r\n{"choices": [{"message": {"content": "A dog barks."}}]}',
}


@pytest.mark.parametrize("name", TRICKLES)
def test_a_server_that_trickles_is_left_in_time(name):
    with raw_server([TRICKLES[name], *[b" "] * 100], pause=0.02) as url:
        start = time.monotonic()
        with pytest.raises(InvalidData, match=r"no answer in 2 tries .'timed out after 0.2 s'"):
            Endpoint("m", url, tries=2, patience=0.001, timeout=0.2)("prompt", 0)
        assert 0.4 <= time.monotonic() - start < 1.2


def test_an_answer_without_an_end_is_not_kept(server):
    bomb = gzip.compress(b" " * 2**27)
    server[1].answers += [(200, bomb, {"Content-Encoding": "gzip"}), (200, bomb, {"Content-Encoding": "gzip, gzip"})]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidData, match="sent more than 8388608 bytes"):
            endpoint(server)("prompt", 0)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    with pytest.raises(InvalidData, match="packs its answer more than once"):
        endpoint(server)("prompt", 0)
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 2**20] * 12]
    with raw_server(endless) as url, pytest.raises(InvalidData, match="sent more than 8388608 bytes"):
        Endpoint("m", url)("prompt", 0)


def test_a_server_that_asks_for_patience_gets_some(server):
    server[1].answers += [(408, b"", {}), (429, b"", {"Retry-After": "9" * 400}), (503, b"", {"Retry-After": "soon"})]
    start = time.monotonic()
    assert endpoint(server, timeout=0.3)("prompt", 0) == reply(0)
    assert 0.3 <= time.monotonic() - start < 1.5


def completion(content: str) -> bytes:
    return f'{{"choices": [{{"message": {{"content": {content}}}, "finish_reason": "stop"}}]}}'.encode()


@pytest.mark.parametrize("content", ['[{"type": "text"}]', "3", "{}", "false", "9" * 5000, "[" * 10**5, '"\xff"'])
def test_content_that_is_no_text_is_refused(server, content):
    server[1].answers.append((200, completion(content).replace("\xff".encode(), b"\xff"), {}))
    with pytest.raises(InvalidData, match="sent no chat completion") as error:
        endpoint(server)("prompt", 0)
    assert str(error.value).isprintable()


def test_no_content_and_half_a_character_are_no_pairs_or_can_be_written(server, tmp_path):
    pairs = [b'"A \\ud800 barks now. | A dog sits now."', b'"A \\ud83d\\ude00 rings now. | A bell hangs now."']
    server[1].answers += [(200, completion(content), {}) for content in ("null", *(pair.decode() for pair in pairs))]
    assert endpoint(server)("prompt", 0) == ""
    table = generate(endpoint(server), PROMPT, tmp_path / "pairs.jsonl", pairs=2)
    assert table.text[0] == "A ? barks now."
    assert table.text[2] == "A \N{GRINNING FACE} rings now."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "http://[::1/v1"}, "base_url 'http://.*must begin with"),
        ({"base_url": "http://"}, "base_url 'http://' must begin with"),
        ({"base_url": "http://host:99999"}, "must begin with"),
        ({"base_url": "http://a..b/v1"}, "must begin with"),
        ({"base_url": "http://host\n/v1"}, "must begin with"),
        ({"base_url": "http://host/v1?key=1"}, "must begin with"),
        ({"base_url": f"http://someone:{KEY}@host/v1"}, "base_url 'host/v1' must begin with"),
        ({"base_url": None}, "must begin with"),
        ({"timeout": -1}, "timeout=-1: must be at least 0.001"),
        ({"timeout": float("nan")}, "timeout=nan: must be"),
        ({"timeout": float("inf")}, "timeout=inf: must be"),
        ({"timeout": "x"}, "timeout='x': must be"),
        ({"tries": 0}, "tries=0: must be at least 1"),
        ({"tries": 1.5}, "tries=1.5: must be at least 1, at most 1,000 and whole"),
        ({"patience": -1}, "patience=-1: must be at least 0"),
        ({"patience": float("nan")}, "patience=nan: must be"),
        ({"settings": {"stop": {"a"}}}, "no JSON .*set"),
        ({"settings": {"temperature": float("nan")}}, "no JSON .*float"),
        ({"settings": 3}, "no JSON"),
        ({"name": 3}, "name 3 must be a text"),
        ({"name": "\ud800"}, "no JSON"),
    ],
)
def test_what_no_request_can_hold_is_refused_at_once(options, message):
    with pytest.raises(InvalidOption, match=message) as error:
        Endpoint(**{"name": "m", **options})
    assert str(error.value).isprintable()
    assert_no_key_in(error.value)


def test_a_prompt_that_is_no_text_is_refused(server, tmp_path):
    with pytest.raises(InvalidOption, match=r"no JSON .*surr"):
        endpoint(server)("half a \ud800", 0)
    for wrong in ({"prompt": "half a \ud800"}, {"topics": ["\ud800"]}, {"topics": [{1}]}, {"seed": float("nan")}):
        with pytest.raises(InvalidOption, match="must be texts"):
            generate(endpoint(server), **{"prompt": PROMPT, "file": tmp_path / "new", "pairs": 1, **wrong})
    for wrong in ({"pairs": -1}, {"pairs": float("nan")}, {"patience": 0}):
        with pytest.raises(InvalidOption, match=f"{next(iter(wrong))}=.*must be at least"):
            generate(endpoint(server), PROMPT, tmp_path / "new", **{"pairs": 1, **wrong})
    assert not server[1].asked and not (tmp_path / "new").exists()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1", "foo://127.0.0.1", "a\x01b"])
def test_a_proxy_that_does_not_work_is_told(server, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(InvalidOption, match="mend HTTPS_PROXY, HTTP_PROXY"):
        endpoint(server)("prompt", 0)


WORDS = ["dog", "cat", "bell", "man", "girl"], ["barks", "rings", "sings"], ["sits", "hangs", "naps"], ["here", "now"]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Folder of a tiny GPT-2 that has learnt to write pairs of a few words."""
    random, tokenizer = Random(0), tiny.tokenizer("gpt2")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96, eos_token_id=0)
    model = GPT2LMHeadModel(config)

    def loss(step):
        random.seed(step)
        lines = []
        for _ in range(20):
            subject, heard, seen, when = (random.choice(words) for words in WORDS)
            lines.append(f"a {subject} {heard} {when} | a {subject} {seen} {when}\n")
        tokens = tokenizer("".join(lines), return_tensors="pt").input_ids[0]
        tokens = tokens[: len(tokens) // 64 * 64].view(-1, 64)
        return model(input_ids=tokens, labels=tokens).loss

    fit(model, loss, steps=120, learning_rate=2e-2)
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_writes_pairs(local, tmp_path):
    model = LocalModel.load(local, max_new_tokens=60, temperature=0.8)
    prompt = "a man sings now | a man sits now\n"
    state = torch.get_rng_state()
    assert model(prompt, seed=1) == model(prompt, seed=1) != model(prompt, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    table = generate(model, prompt, tmp_path / "pairs.jsonl", pairs=12, topics=[])
    assert len(table) == 24
    words = set(" ".join(table.text).split())
    assert len(words & {"barks", "rings", "sings", "sits", "hangs", "naps"}) >= 4
    with pytest.raises(InvalidOption, match=r"max_new_tokens=60: the prompt has .* the model reads 96"):
        model(prompt * 5, seed=0)
    with pytest.raises(MissingWeights, match="nowhere"):
        LocalModel.load(tmp_path / "nowhere")


def test_a_chat_template_is_used(local, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(local)
    tokenizer.chat_template = "{% for m in messages %}a man {{ m.content }} | a man {% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    AutoModelForCausalLM.from_pretrained(local).save_pretrained(tmp_path)
    chat = LocalModel.load(tmp_path, max_new_tokens=40)
    plain = LocalModel.load(local, max_new_tokens=40)
    assert chat("sings now", seed=3) == plain("a man sings now | a man ", seed=3)


def test_prompts_ship_and_are_filled_in():
    audible = read_prompt("audible", number=15)
    assert "Write 15 pairs of sentences about $topic" in audible
    examples = [("A dog barks.", "A dog barking."), ("Rain falls.", "Rain falling.")]
    fields = {"property": "simple present", "definition": "It has a finite verb.", "examples": examples}
    text = read_prompt("property", number=7, **fields)
    assert text.endswith("A dog barks. | A dog barking.\nRain falls. | Rain falling.\n")
    assert "this property: simple present.\n\nIt has a finite verb.\n" in text
    assert "$" not in text.replace("$topic", "")
    assert len(set((PROMPTS / "topics.txt").read_text().splitlines())) >= 40
    with pytest.raises(InvalidOption, match="needs 'definition'"):
        read_prompt("property", property="x", examples=examples)
    with pytest.raises(InvalidOption, match="no field 'defintion': did you mean 'definition'"):
        read_prompt("property", **fields, defintion="x")
    with pytest.raises(InvalidData, match="no prompt 'audble'"):
        read_prompt("audble")
    with pytest.raises(InvalidData, match="no prompt 'xxx"):
        read_prompt("x" * 5000)


def test_the_audit_finds_a_planted_shortcut_and_no_other():
    random = Random(0)
    subjects, verbs = [f"subject{n}" for n in range(40)], [f"verb{n}" for n in range(40)]
    labels = [n % 2 for n in range(200)]
    plain = [f"a {random.choice(subjects)} {random.choice(verbs)} quickly" for _ in labels]
    planted = [f"the{text[1:]}" if label else text for text, label in zip(plain, labels, strict=True)]
    longer = [f"{text} and so on" if label else text for text, label in zip(plain, labels, strict=True)]
    groups = range(len(labels))
    assert audit(plain, labels, groups).accuracy.max() < 0.65
    assert audit(planted, labels, groups).accuracy["first word alone"] == 1
    assert audit(planted, labels, groups).accuracy["length alone"] > 0.9  # "the" is longer by two letters
    assert audit(longer, labels, groups).accuracy[["length alone", "single words (naive Bayes)"]].min() > 0.95
    assert audit(longer, labels, groups).accuracy["first word alone"] < 0.6


def test_the_audit_is_that_of_the_classifier_notebook():
    own = load_audibility("own")
    pd.testing.assert_frame_equal(
        audit(own.sentence, own.audible, own.pair), shortcuts(own.sentence, own.audible, own.pair)
    )
    again = [f"A dog number{n // 4} barks at post{n // 4}." for n in range(80)]  # each four times: near-duplicates
    labels = [n // 4 % 2 for n in range(80)]
    assert audit(again, labels).loc["single words (naive Bayes)", "auc"] < 0.7
    assert audit(again, labels, range(80)).loc["single words (naive Bayes)", "auc"] == 1


@pytest.mark.parametrize(
    "texts, labels",
    [
        ([], []),
        (["a b"] * 9, [1] * 9),
        (["a b"], [1, 0]),
        (["a dog barks"] * 9, [1, 0, 1] * 3),
        (["a dog", "a cat", "a bell", "a car", "a hen"], ["yes", "no", "yes", "no", "yes"]),
        (["a dog", "a cat", "a bell", "a car", "a hen"], [1, 0, 0, 0, 0]),
    ],
)
def test_what_cannot_be_audited_is_refused(texts, labels):
    with pytest.raises(InvalidData):
        audit(texts, labels)


def test_generated_pairs_train_a_classifier(tmp_path):
    class Letters:
        def encode_text(self, texts):
            counts = [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
            return torch.nn.functional.normalize(torch.tensor(counts, dtype=torch.float32), dim=-1)

    table = generate(Cut(10), PROMPT, tmp_path / "pairs.jsonl", pairs=24)
    classifier = EmbeddingClassifier.train(table, encoder=Letters(), steps=100, noise=0.1)
    barks, sits = classifier.probability(["a dog barks", "a dog sits"])
    assert barks > sits + 0.2
