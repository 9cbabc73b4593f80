"""`make demo`: captions side by side and a figure, on the project's own clips; real recordings join where they are."""

import matplotlib.image

import demo


def test_demo_prints_both_captions_and_writes_a_figure(monkeypatch, tmp_path, capsys):
    (tmp_path / "esc10" / "rain").mkdir(parents=True)
    (tmp_path / "esc10" / "rain" / "1-1-A.ogg").touch()
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    clips = demo.recordings()
    assert clips.pop().name == "1-1-A.ogg"
    kinds = {clip.stem.split("-")[0] for clip in clips if "+" not in clip.stem}
    assert len(clips) == 28 and len(kinds) == 26

    monkeypatch.setattr(demo, "FIGURE", tmp_path / "runs" / "demo.png")
    monkeypatch.setattr(demo, "recordings", lambda: clips[::14])
    demo.main()
    out = capsys.readouterr().out
    assert out.count("without: ") == out.count("guided:  ") == 2
    assert matplotlib.image.imread(demo.FIGURE).std() > 0.1
