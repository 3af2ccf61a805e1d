"""Every step a visitor takes, on the real page with the real pipeline; bad input, two visitors, a phone, a webcam, programs."""

from __future__ import annotations

import base64
import re

import numpy as np

VIDEO = "document.querySelector('#film video')"


def test_the_whole_way(visit, server, tmp_path):
    """Example -> read -> maps and gates -> film -> stop -> compare -> download and drop back -> delete."""
    visitor = visit()
    page = visitor.page
    assert page.locator("#read").is_disabled() and page.locator("#get_mp4").is_disabled()
    before = page.locator("#prompt").bounding_box()["y"]
    visitor.example()
    for number in range(1, page.locator("#cards .slot").count() + 1):
        assert visitor.ink(f"#slot{number} img") > 3, f"the map of slot {number} is blank"
    assert number == 8 and visitor.ink("#time_map svg") > 3 and visitor.ink("#found img") > 3
    assert page.locator("#meter li").count() >= 5 and page.locator("#meter .mark").first.inner_text()[2:] in ("good", "weak")
    assert abs(page.locator("#prompt").bounding_box()["y"] - before) < 60, "what is below jumped when the person was read"
    see_the_slots(visitor)

    page.locator("#chips_act").get_by_text("smile", exact=True).click()
    page.locator("#chips_place").get_by_text("garden", exact=True).click()
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a person smiles in a garden'")
    page.locator("#slot3 [data-mark=mute]").click()
    visitor.tune(3)
    prompt = "a person smiles in a garden, zorgle {{x}} ${1}"
    visitor.make(prompt)
    page.wait_for_function(f"{VIDEO}.duration > 0.5 && {VIDEO}.readyState >= 2")
    assert "zorgle" in page.locator("#heard").inner_text() and "zorgle" in page.locator("#heard i").first.inner_text()
    assert "likeness" in page.locator("#likeness").inner_text().lower() and page.locator("#likeness svg").count()
    assert "Dreaming" in page.locator("#timings").inner_text()
    length = page.evaluate(f"{VIDEO}.duration")
    assert visitor.frame_at(0.0) != visitor.frame_at(0.8 * length), "the film stands still"
    film = download_and_drop_back(visitor, tmp_path, prompt)

    from slotid.clip_write import read_settings

    kept = read_settings(film)
    assert kept["slot_gain"][2] == 0 and kept["slot_gain"][0] == 1, "the muted slot was not muted"
    assert kept["ai_generated"] and kept["steps"] == 3

    visitor.make("a person smiles " * 80, "#said .error")  # too long
    assert "1000" in page.locator("#said").inner_text()
    page.locator("#prompt textarea").fill(prompt)
    stop_in_the_middle(visitor)
    visitor.tune(2)
    page.locator("#compare").click()
    page.wait_for_selector("#sweep figure:nth-child(2) img")
    page.wait_for_selector("#compare:not([disabled])")
    assert page.locator("#sweep figcaption").all_inner_texts()[0].startswith("without identity")

    assert page.locator("#history img").count() == 1 and prompt in page.locator("#history").inner_text()
    page.locator("#prompt textarea").fill("")
    page.locator("#history button").click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('zorgle')")
    page.wait_for_selector("#film video")
    page.locator("#save_code").click()
    with page.expect_download() as download:
        page.locator("#code_file").click()
    code = tmp_path / "person.safetensors"
    download.value.save_as(code)

    page.locator("#delete").click()
    page.wait_for_selector("#slot1 img", state="detached")
    page.wait_for_selector("#history img", state="detached")
    page.wait_for_selector("#film video", state="hidden")
    left = [path.name for path in server.cache.rglob("*.*") if path.name.startswith(("slotid.", "person."))]
    assert not left, "what was deleted is still on the disk"
    page.locator("#consent input").check()
    choose(page, "#load_code:not([disabled])", code)
    page.wait_for_selector("#found:has-text('saved code')")
    assert visitor.serious() == [] and server.tracebacks() == ""


def choose(page, selector, path) -> None:
    """Presses a button that asks for a file, and gives it."""
    with page.expect_file_chooser() as chooser:
        page.locator(selector).click()
    chooser.value.set_files(str(path))


def see_the_slots(visitor) -> None:
    """What moved, gates, one slot large by pressing its card, the plan forming with a falling error."""
    page = visitor.page
    page.get_by_role("tab", name="What moved").click()
    assert page.locator("#moves polyline").count() == 9 and "dashed one the right" in page.locator("#moves").inner_text()
    assert visitor.ink("#moves svg") > 3
    page.get_by_role("tab", name="Gates").click()
    assert "opens widest" in page.locator("#gates").inner_text() or "no slot is preferred" in page.locator("#gates").inner_text()
    assert visitor.ink("#gates svg") > 3
    page.get_by_role("tab", name="How the plan formed").click()
    assert page.locator("#forming img").count() == 8
    slider, words = page.locator("#iteration input[type=range]"), []
    for end in ("End", "Home"):
        slider.press(end)
        page.wait_for_selector(f"#forming p:has-text('Refinement {3 if end == 'End' else 1} of 3')")
        words.append(page.locator("#forming p").inner_text())
    last, first = (float(text.split("of 8: ")[1].split("%")[0]) for text in words)
    assert last < first, "the marginal error does not fall"
    page.locator("#slot4 .open").press("Enter")  # the keyboard opens it too
    page.wait_for_selector("#large img")
    assert page.locator("#slot4 h4").inner_text() in page.locator("#large").inner_text()


def download_and_drop_back(visitor, folder, prompt):
    """Downloads mp4, GIF and settings; drops the mp4 back with the mouse's event; returns its path."""
    page = visitor.page
    for name in ("gif", "json", "mp4"):
        with page.expect_download() as download:
            page.locator(f"#get_{name}").click()
        file = folder / f"film.{name}"
        download.value.save_as(file)
        assert file.stat().st_size > 100
    page.locator("#prompt textarea").fill("something else")
    data = base64.b64encode(file.read_bytes()).decode()
    drop = page.evaluate_handle(
        "data => {const t = new DataTransfer(); const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));"
        "t.items.add(new File([bytes], 'film.mp4', {type: 'video/mp4'})); return t}",
        data,
    )
    page.locator("#restore button").first.dispatch_event("drop", {"dataTransfer": drop})
    page.wait_for_selector("#said:has-text('settings are in place')")
    page.wait_for_function("text => document.querySelector('#prompt textarea').value === text", arg=prompt)
    assert page.locator("#steps input[type=number]").input_value() == "3"
    return file


def stop_in_the_middle(visitor) -> None:
    """Stop ends a long film at once and leaves the last preview."""
    page = visitor.page
    visitor.tune(50)
    page.locator("#make:not([disabled])").click()
    page.wait_for_selector("#frame img")
    assert "left" in page.locator("#walk").inner_text(), "no time left is told"
    page.locator("#stop:not([disabled])").click()
    page.wait_for_selector("#make:not([disabled])")
    assert "Stopped" in page.locator("#walk").inner_text() and visitor.ink("#frame img") > 3


def test_bad_input_says_what_to_do(visit, server, tmp_path, media):
    visitor = visit()
    page = visitor.page
    text = tmp_path / "notes.mp4"
    text.write_text("this is no film")
    visitor.give(text)
    page.wait_for_timeout(300)
    assert page.locator("#read").is_disabled(), "nothing may be read before the tick"
    visitor.read(text, "#told .error:has-text('notes.mp4')")
    visitor.read(media.film("nobody.mp4", media.frames(30, 96, 128)), "#told .error:has-text('face')")
    visitor.make("a person smiles", "#said .error")
    assert "Read a clip first" in page.locator("#said").inner_text()
    page.locator("#compare").click()
    page.wait_for_selector("#walk_compare .error:has-text('Read a clip first')")
    page.locator("#restore input[type=file]").set_input_files(str(text))
    page.wait_for_selector("#said .error:not(:has-text('Read a clip'))")
    assert visitor.serious() == [] and server.tracebacks() == ""


def test_two_visitors_both_finish_and_neither_sees_the_other(visit, server):
    """Somebody who leaves in the middle holds nobody up; who waits is told his place and the time; everybody gets his own film."""
    first, second, leaver = visit(), visit(), visit()
    for one in (first, second, leaver):
        one.example()
        one.tune(6)
    assert second.page.locator("#history img").count() == 0
    leaver.tune(50)
    leaver.page.locator("#prompt textarea").fill("a person laughs")
    leaver.page.locator("#make:not([disabled])").click()
    leaver.page.wait_for_selector("#walk:has-text('step')")
    leaver.context.close()
    for one, words in ((first, "a person nods"), (second, "a person talks")):
        one.page.locator("#prompt textarea").fill(words)
        one.page.locator("#make:not([disabled])").click()
    second.page.wait_for_selector("#walk:has-text('Waiting in line: ')")
    assert re.search(r"before you, your turn (in about \d+:\d\d|any moment)", second.page.locator("#walk").inner_text())
    for one, own, other in ((first, "nods", "talks"), (second, "talks", "nods")):
        one.page.wait_for_selector("#film video")
        one.page.wait_for_selector("#history img")
        told = one.page.locator("#history").inner_text()
        assert own in told and other not in told and one.page.locator("#history img").count() == 1
    addresses = [one.page.locator("#film video").get_attribute("src") for one in (first, second)]
    assert addresses[0] != addresses[1]
    assert first.serious() == [] and second.serious() == [] and server.tracebacks() == ""


def test_a_face_is_chosen_among_two_by_clicking_it(visit, server, two_faces, tmp_path):
    from slotid.clip_write import write_clip

    side = min(min(clip.frames.shape[1:3]) for clip in two_faces)
    count = min(20, *(len(clip.frames) for clip in two_faces))
    both = np.concatenate([clip.frames[:count, :side, :side] for clip in two_faces], axis=2)
    visitor = visit()
    page = visitor.page
    visitor.read(write_clip(tmp_path / "both.mp4", both, None, 12.0))
    faces = page.locator("#crowd button")
    assert faces.count() == 2 and visitor.ink("#crowd img") > 3
    left = [faces.nth(number).bounding_box()["x"] for number in (0, 1)]
    faces.nth(1).click()
    page.wait_for_function("x => Math.abs(document.querySelector('#crowd button').getBoundingClientRect().x - x) < 4", arg=left[1])
    assert "Found in" in page.locator("#found").inner_text() and visitor.serious() == []


def test_a_phone_in_the_dark_shows_all_of_it_and_everything_has_a_name(visit):
    visitor = visit(width=390, dark=True)
    visitor.example(1)
    assert visitor.sticks_out() <= 0, "something sticks out to the side"
    assert visitor.nameless() == []
    red, green, blue = (int(v) for v in visitor.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"))
    assert max(red, green, blue) < 60, "the page is not dark"


def test_the_keyboard_reaches_every_step(visit):
    visitor = visit()
    wanted = {"examples", "clip", "consent", "prompt", "surprise", "chips_act", "strength", "make", "kind", "compare"}
    reached = set()
    for _ in range(80):
        visitor.page.keyboard.press("Tab")
        reached.add(visitor.page.evaluate("document.activeElement.closest('[id]:not([id^=component]):not([id^=html])')?.id"))
        reached.add(visitor.page.evaluate("document.activeElement.closest('.block, .form')?.id"))
    assert wanted <= reached, f"Tab does not reach {wanted - reached}"


def test_a_webcam_recording_is_read(before_a_camera, examples):
    """Chromium's fake camera plays the clip; the recording is a webm without duration."""
    visitor = before_a_camera(examples[0])
    page = visitor.page
    page.locator("#clip").get_by_label("Capture from camera").click()
    access = page.locator("#clip").get_by_text("Click to Access Webcam")
    if access.count():
        access.click()
    page.locator("#clip").get_by_label("start recording").click()
    page.wait_for_timeout(4000)
    page.locator("#clip button:has-text('Stop')").click()
    page.locator("#consent input").check()
    page.locator("#read:not([disabled])").click()
    page.wait_for_selector("#slot1 img")
    assert "Found in" in page.locator("#found").inner_text() and visitor.serious() == []
