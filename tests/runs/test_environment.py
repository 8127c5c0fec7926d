"""What a result says of the program that made it: the commit, and whether files differ from it."""

import subprocess

from alexnet.runs import environment


def test_the_commit_is_dirty_by_files_that_changed_but_for_those_that_are_left_out(tmp_path, monkeypatch):
    def git(*arguments):
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *author, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.setattr(environment, "__file__", str(tmp_path / "package" / "runs" / "environment.py"))
    git("init")
    (tmp_path / "results").mkdir()
    for name in ("code.py", "results/rows.jsonl"):
        (tmp_path / name).write_text("as committed")
    git("add", ".")
    git("commit", "-m", "all")
    head = git("rev-parse", "--short", "HEAD")
    assert environment.commit() == head
    (tmp_path / "results/rows.jsonl").write_text("one row more")
    assert environment.commit() == f"{head}-dirty"
    assert environment.commit(["results"]) == head
    (tmp_path / "code.py").write_text("changed")
    assert environment.commit(["results"]) == f"{head}-dirty"
