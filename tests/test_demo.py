"""`make demo`: captions side by side and a figure, on the project's own clips alone."""

import matplotlib.image

import demo


def test_demo_prints_both_captions_and_writes_a_figure(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("ZSCAP_DATA", raising=False)
    monkeypatch.setattr(demo, "FIGURE", tmp_path / "runs" / "demo.png")
    clips = demo.recordings()
    kinds = {clip.stem.split("-")[0] for clip in clips if "+" not in clip.stem}
    assert len(clips) == 28 and len(kinds) == 26
    demo.main()
    out = capsys.readouterr().out
    assert out.count("without: ") == out.count("guided:  ") == len(clips)
    assert matplotlib.image.imread(demo.FIGURE).std() > 0.1


def test_real_recordings_join_where_they_are(monkeypatch, tmp_path):
    (tmp_path / "esc10" / "rain").mkdir(parents=True)
    (tmp_path / "esc10" / "rain" / "1-1-A.ogg").touch()
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    assert demo.recordings()[-1].name == "1-1-A.ogg"
