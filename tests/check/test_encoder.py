"""Encoder checkers: equal to the published use of each kind of model, and what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from common.check.encoder import Encoder, PairChecker, TokenChecker, load_encoder_checker
from common.check.support import Checked, DocumentSummary
from common.errors import ModelError
from common.metrics.sentences import split_sentences
from tests.check.encoders import LONGEST, NLI, PAIR_KINDS, TOKEN_KINDS, TOKENS, UNNAMED, build_classifier

torch = pytest.importorskip("torch")

DOCUMENT = "The council voted on Monday to close the old bridge. Engineers said that the work would cost four million."
LONG = " ".join(f"Nobody knows why the {word} bridge is late." for word in ("old", "ring", "nine", "four", "road") * 9)
SUMMARY = "The bridge is closed on Monday. She wrote that a storm took the bridge."
ITEMS = [
    DocumentSummary(DOCUMENT, SUMMARY),
    DocumentSummary("A storm took the power.", "The power is late. Two tests fail. Nobody knows."),
    DocumentSummary(DOCUMENT, "Nobody knows why."),
]


def classifier(folder: Path, kind: str, labels: dict[int, str], **more: Any) -> Any:
    return load_encoder_checker(build_classifier(folder, kind, labels, **more))


def supports(checked: Checked) -> list[float]:
    return [sentence.support for sentence in checked.sentences]


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_pairs_are_rated_as_transformers_own_pipeline_rates_them(tmp_path: Path, kind: str) -> None:
    checker = classifier(tmp_path / kind, kind, NLI)
    from transformers import pipeline

    published = pipeline("text-classification", model=str(tmp_path / kind), top_k=None, device="cpu")
    expected = [
        [
            next(
                one["score"]
                for one in published({"text": item.document, "text_pair": claim})
                if one["label"] == "entailment"
            )
            for claim in split_sentences(item.summary)
        ]
        for item in ITEMS
    ]
    found = [supports(checked) for checked in checker.check(ITEMS)]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    flat = [value for values in expected for value in values]
    assert max(flat) - min(flat) > 100 * 1e-5
    assert found == [supports(checked) for checked in checker.check(ITEMS)]


@pytest.mark.parametrize("kind", TOKEN_KINDS)
@pytest.mark.parametrize("name", ["lettucedect-tiny", "other"])
def test_tokens_are_rated_as_lettucedetect_rates_them(tmp_path: Path, kind: str, name: str) -> None:
    labels = UNNAMED if name == "lettucedect-tiny" else TOKENS
    checker = classifier(tmp_path / name, kind, labels, of_tokens=True)
    for item, checked in zip(ITEMS, checker.check(ITEMS), strict=True):
        expected = lettuce(str(tmp_path / name), item)
        assert supports(checked) == pytest.approx(expected, abs=1e-5)
        spans = [item.summary[one.start : one.end] for one in checked.sentences]
        assert spans == split_sentences(item.summary)
    assert len({round(value, 3) for checked in checker.check(ITEMS) for value in supports(checked)}) > 3


def lettuce(folder: str, item: DocumentSummary) -> list[float]:
    """lettucedetect 0.2's own steps: its summary prompt and the answer as a pair, softmax, class 1 of its tokens."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    prompt = f"Summarize the following text:\npassage 1: {item.document}\noutput:"
    encoding = tokenizer(
        prompt, item.summary, truncation="only_first", max_length=4096, return_offsets_mapping=True, return_tensors="pt"
    )
    offsets = encoding.pop("offset_mapping")[0].tolist()
    start = len(offsets) - len(tokenizer(item.summary, add_special_tokens=False)["input_ids"]) - 1
    with torch.no_grad():
        logits = model(input_ids=encoding["input_ids"], attention_mask=encoding["attention_mask"]).logits
    probabilities = logits.softmax(-1)[0, :, 1].tolist()
    result, at = [], 0
    for sentence in split_sentences(item.summary):
        first = item.summary.index(sentence, at)
        at = first + len(sentence)
        own = [p for p, (a, b) in list(zip(probabilities, offsets, strict=True))[start:-1] if a < at and b > first]
        result.append(1 - max(own))
    return result


def test_factcg_is_asked_by_its_own_template(tmp_path: Path) -> None:
    checker = classifier(tmp_path / "FactCG-tiny", "deberta-v2", UNNAMED)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "FactCG-tiny")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "FactCG-tiny").eval()
    premise = "\n".join(split_sentences(DOCUMENT))
    expected = []
    for claim in split_sentences(SUMMARY):
        text = (
            f'{premise}\n\nChoose your answer: based on the paragraph above can we conclude that "{claim}"?\n\n'
            "OPTIONS:\n- Yes\n- No\nI think the answer is "
        )
        with torch.no_grad():
            expected.append(float(model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0, 1]))
    (checked,) = checker.check(ITEMS[:1])
    assert supports(checked) == pytest.approx(expected, abs=1e-5)
    assert isinstance(checker, PairChecker)


def test_minicheck_is_given_one_text_with_its_end_mark_between(tmp_path: Path) -> None:
    checker = classifier(tmp_path / "models--lytang--MiniCheck-RoBERTa-Large" / "snapshots" / "abc", "roberta", UNNAMED)
    encoder: Encoder = checker._encoder
    expected = []
    for claim in split_sentences(SUMMARY):
        text = f"{DOCUMENT}{encoder.tokenizer.eos_token}{claim}"
        (probabilities,) = encoder.probabilities([dict(encoder.tokenizer(text))])
        expected.append(float(probabilities[1]))
    assert supports(checker.check(ITEMS[:1])[0]) == pytest.approx(expected, abs=1e-5)


def test_a_single_label_is_a_probability_of_its_own(tmp_path: Path) -> None:
    checker = classifier(tmp_path / "one", "bert", {0: "consistent"})
    from transformers import pipeline

    published = pipeline("text-classification", model=str(tmp_path / "one"), device="cpu")
    (expected,) = [published({"text": DOCUMENT, "text_pair": ITEMS[2].summary})["score"]]
    assert supports(checker.check(ITEMS[2:])[0]) == pytest.approx([expected], abs=1e-5)


@pytest.mark.parametrize("of_tokens", [False, True])
def test_long_documents_are_read_in_whole_sentences_and_the_best_passage_counts(
    tmp_path: Path, of_tokens: bool
) -> None:
    checker = classifier(tmp_path / "m", "bert", TOKENS if of_tokens else NLI, of_tokens=of_tokens)
    item = DocumentSummary(LONG, SUMMARY)
    (checked,) = checker.check([item])
    sentences = split_sentences(LONG)
    assert len(checker._encoder.tokenizer(LONG)["input_ids"]) > 1.4 * LONGEST
    if of_tokens:
        assert isinstance(checker, TokenChecker)
        parts = [LONG[start:end] for start, end in checker._passages(item)]
    else:
        claim = split_sentences(SUMMARY)[0]
        from common.check.passages import fitting_passages

        parts = [LONG[a:b] for a, b in fitting_passages(LONG, lambda text: checker._fits(text, claim))]
        alone = [supports(checker.check([DocumentSummary(part, claim)])[0])[0] for part in parts]
        assert supports(checked)[0] == pytest.approx(max(alone), abs=1e-5)
        assert max(alone) > min(alone)
    assert len(parts) > 1
    assert [sentence for part in parts for sentence in split_sentences(part)] == sentences


def test_evidence_is_the_passage_that_says_it_and_the_best_comes_first(tmp_path: Path) -> None:
    checker = classifier(tmp_path / "m", "bert", NLI)
    document = f"{LONG} The council voted on Monday. {LONG}"
    (checked,) = checker.check([DocumentSummary(document, "The council voted on Monday.")])
    evidence = checked.sentences[0].evidence
    assert "The council voted on Monday." in {document[one.start : one.end] for one in evidence}
    assert [one.support for one in evidence] == sorted((one.support for one in evidence), reverse=True)


def test_results_do_not_depend_on_company(tmp_path: Path) -> None:
    for of_tokens, labels in ((False, NLI), (True, TOKENS)):
        checker = classifier(tmp_path / str(of_tokens), "bert", labels, of_tokens=of_tokens)
        items = [*ITEMS, DocumentSummary(LONG, SUMMARY)]
        together = checker.check(items)
        for item, checked in zip(items, together, strict=True):
            (alone,) = checker.check([item])
            assert supports(alone) == pytest.approx(supports(checked), abs=1e-5)


@pytest.mark.parametrize("of_tokens", [False, True])
def test_what_cannot_be_rated_says_why_and_is_neither_supported_nor_not(tmp_path: Path, of_tokens: bool) -> None:
    checker = classifier(tmp_path / "m", "bert", TOKENS if of_tokens else NLI, of_tokens=of_tokens)
    endless = DocumentSummary(DOCUMENT, "the bridge and " * 60)
    nothing, empty, silent = checker.check([endless, DocumentSummary(DOCUMENT, " "), DocumentSummary("", "Rain.")])
    assert math.isnan(nothing.support)
    assert f"too long for the checker, which reads {LONGEST} tokens at once" in nothing.failure
    assert (empty.sentences, empty.support, empty.failure) == ((), 0.0, "")
    assert (silent.support, silent.failure) == (0.0, "")


@pytest.mark.parametrize(
    ("labels", "of_tokens", "said"),
    [
        (UNNAMED, False, 'LABEL_0, LABEL_1 .* which means supported; set id2label there, such as {"0": "unsupported"'),
        ({0: "neg", 1: "pos", 2: "neu"}, False, "neg, pos, neu .* which means supported"),
        ({0: "supported", 1: "entailment"}, False, "supported, entailment .* which means supported"),
        (UNNAMED, True, 'LABEL_0, LABEL_1 .* which means hallucinated; set id2label .* "1": "hallucinated"'),
        ({0: "O", 1: "B-PER", 2: "I-PER"}, True, "O, B-PER, I-PER .* which means hallucinated"),
    ],
)
def test_labels_that_say_nothing_are_refused_with_the_remedy(
    tmp_path: Path, labels: dict[int, str], of_tokens: bool, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        classifier(tmp_path / "m", "bert", labels, of_tokens=of_tokens)


@pytest.mark.parametrize(
    ("labels", "index"),
    [
        ({0: "ENTAILMENT", 1: "NOT_ENTAILMENT"}, 0),
        ({0: "0", 1: "1"}, 1),
        ({0: "SUPPORTED", 1: "REFUTED", 2: "NOT ENOUGH INFO"}, 0),
        ({0: "not_consistent", 1: "Consistent"}, 1),
    ],
)
def test_labels_are_found_by_name(tmp_path: Path, labels: dict[int, str], index: int) -> None:
    assert classifier(tmp_path / "m", "bert", labels)._label == index


def test_models_that_are_no_checkers_are_refused(tmp_path: Path) -> None:
    from tests.metrics.tiny_encoder import build_tiny_encoder

    with pytest.raises(ModelError, match=r"--checker \./nowhere: there is no such folder"):
        load_encoder_checker("./nowhere")
    with pytest.raises(
        ModelError, match=r"classifier of sentence pairs or tokens, and its config\.json names the .* BertModel"
    ):
        load_encoder_checker(build_tiny_encoder(tmp_path / "plain", [DOCUMENT]))
    folder = Path(build_classifier(tmp_path / "pickled", "bert", NLI))
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as an encoder for checking summaries"):
        load_encoder_checker(str(folder))


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    folder = Path(build_classifier(tmp_path / "m", "bert", NLI))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto}), encoding="utf-8")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    assert load_encoder_checker(str(folder)).check(ITEMS[:1])[0].sentences
    assert not ran.exists()
