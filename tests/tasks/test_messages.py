"""The messages task: a file that OpenAI accepts trains here, and a bad line says what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records.conversation import Conversation, GivesWay
from understudy.tasks.messages import MessagesConfig, from_row


def config(**given: Any) -> MessagesConfig:
    return MessagesConfig(name="messages", **given)


def talk(record: dict[str, Any], **given: Any) -> Conversation:
    (found,) = from_row(record, config(**given))
    return found


def said(found: Conversation) -> list[tuple[str, str, int]]:
    return [(s.message.role, s.message.content, s.message.weight) for s in found.spoken]


MARV = {
    "messages": [
        {"role": "system", "content": "Marv is sarcastic."},
        {"role": "user", "content": "What's the capital of France?"},
        {"role": "assistant", "content": "Paris", "weight": 0},
        {"role": "user", "content": "Can you be more sarcastic?"},
        {"role": "assistant", "content": "Paris, as if nobody knew.", "weight": 1},
    ]
}


def test_weights_are_honoured_and_the_system_message_stands_apart() -> None:
    found = talk(MARV)
    assert found.system == "Marv is sarcastic."
    assert said(found) == [
        ("user", "What's the capital of France?", 0),
        ("assistant", "Paris", 0),
        ("user", "Can you be more sarcastic?", 0),
        ("assistant", "Paris, as if nobody knew.", 1),
    ]
    assert found.gives_way is GivesWay.turns
    assert [w for *_, w in said(talk(MARV, honour_weights=False))] == [0, 1, 0, 1]
    assert [w for *_, w in said(talk(MARV, train_users=True))] == [1, 0, 1, 1]


def test_a_row_of_a_prepared_set_is_such_a_line_too() -> None:
    record = {
        "messages": [
            {"role": "user", "content": "a", "weight": 1},
            {"role": "assistant", "content": "b", "weight": 0},
        ],
        "meta": {"corpus": "x", "item": "y", "category": "talk", "licence": "CC0"},
    }
    found = talk(record)
    assert [w for *_, w in said(found)] == [1, 0]
    assert (found.category, found.licence, found.creator) == ("talk", "CC0", None)


def test_a_system_message_of_the_config_stands_where_a_row_has_none() -> None:
    row = {"messages": MARV["messages"][1:]}
    assert talk(row, system="Be kind.").system == "Be kind."
    assert talk(MARV, system="Be kind.").system == "Marv is sarcastic."


def test_names_and_late_system_messages_are_kept() -> None:
    found = talk(
        {
            "messages": [
                {"role": "developer", "content": "One."},
                {"role": "user", "content": "a", "name": "ada"},
                {"role": "system", "content": "Two."},
                {"role": "assistant", "content": "b"},
            ]
        }
    )
    assert found.system == "One.\n\nTwo."
    assert found.spoken[0].message.name == "ada"
    assert found.notes == {"system messages moved to the front": 1}


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"town": "Köln"}'},
}


def test_tools_and_their_calls_are_written_as_templates_write_them() -> None:
    found = talk(
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "rain"},
                {"role": "assistant", "content": "It rains."},
            ],
            "tools": [TOOL],
            "parallel_tool_calls": False,
        }
    )
    assert found.system is not None
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in found.system
    assert said(found) == [
        ("user", "Weather?", 0),
        (
            "assistant",
            '<tool_call>\n{"name": "weather", "arguments": {"town": "Köln"}}\n</tool_call>',
            1,
        ),
        ("tool", "rain", 0),
        ("assistant", "It rains.", 1),
    ]
    assert found.notes == {
        "tool calls written as text": 1,
        "tools written into the system message": 1,
    }


def test_the_tool_text_is_that_of_qwens_template() -> None:
    """Compared with what its jinja template renders (the part that concerns tools)."""
    from jinja2 import Environment

    template = (
        '{{- "\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.'
        "\\n\\nYou are provided with function signatures within <tools></tools> XML tags:"
        '\\n<tools>" }}{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}'
        '{{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and '
        "arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n"
        '{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>" }}'
    )
    environment = Environment(autoescape=False)  # noqa: S701  # plain text, no page
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    expected = environment.from_string(template).render(tools=[TOOL])
    row = {**MARV, "tools": [TOOL]}
    assert talk(row).system == f"Marv is sarcastic.{expected}"


def test_functions_of_the_older_form_are_read() -> None:
    found = talk(
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None, "function_call": CALL["function"]},
                {"role": "function", "name": "weather", "content": "rain"},
                {"role": "assistant", "content": "It rains."},
            ],
            "functions": [TOOL["function"]],
        }
    )
    assert found.system is not None
    assert json.dumps(TOOL) in found.system
    assert found.spoken[1].message.content.startswith("<tool_call>")
    assert found.spoken[2].message.role == "tool"


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": ""}]}
    found = talk(row)
    assert said(found) == [("user", "a\nb", 0), ("assistant", "", 1)]
    assert found.notes == {"messages without text": 1}


USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no messages: the row has no field"),
        ({"prompt": "a", "completion": "b"}, "no messages: the row has prompt, completion"),
        ({"messages": None}, "messages is null, not a list"),
        ({"messages": {}}, "messages is an object, not a list"),
        ({"messages": []}, r"an empty conversation: messages is \[\]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "an empty conversation: .* system"),
        ({"messages": [USER, None]}, "message 2: it is null, not an object"),
        ({"messages": [USER, "b"]}, "message 2: it is a text, not an object"),
        ({"messages": [{"content": "a"}]}, "message 1: no role"),
        (
            {"messages": [USER, {**ANSWER, "role": "bot"}]},
            'message 2: role "bot" is none of system',
        ),
        ({"messages": [{**USER, "role": None}]}, "message 1: role null is none of"),
        ({"messages": [{**USER, "role": ["user"]}]}, r'message 1: role \["user"\] is none of'),
        ({"messages": [USER, {"role": "assistant"}]}, "message 2: no content"),
        ({"messages": [USER, {**ANSWER, "content": None}]}, "message 2: content is null"),
        ({"messages": [USER, {**ANSWER, "content": 5}]}, "message 2: content is a number"),
        ({"messages": [USER, {**ANSWER, "weight": 2}]}, "message 2: weight 2 is neither 0 nor 1"),
        ({"messages": [USER, {**ANSWER, "weight": True}]}, "message 2: weight true is neither"),
        ({"messages": [USER, {**ANSWER, "weight": "1"}]}, 'message 2: weight "1" is neither'),
        ({"messages": [USER, {**ANSWER, "weight": None}]}, "message 2: weight is null"),
        ({"messages": [{"role": "system", "content": "x", "weight": 1}]}, "weight 1 .* system"),
        ({"messages": [USER, {**ANSWER, "name": 3}]}, "message 2: name is a number"),
        (
            {"messages": [USER, {**ANSWER, "weight": 0}]},
            "nothing to learn: no message has weight 1",
        ),
        ({"messages": [USER]}, "nothing to learn"),
        (
            {"messages": [{**USER, "content": [{"type": "image_url", "image_url": {}}]}, ANSWER]},
            "message 1: content has a part of type image_url: only text",
        ),
        ({"messages": [{**USER, "content": [None]}, ANSWER]}, "message 1: .* of type null"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [{}]}]}, "message 2: a tool call without"),
        ({"messages": [USER, {**ANSWER, "tool_calls": 1}]}, "message 2: tool_calls is a number"),
        (
            {
                "messages": [
                    USER,
                    {**ANSWER, "function_call": {"name": "f", "arguments": "{torn"}},
                ]
            },
            "message 2: the arguments of the call of f are not JSON",
        ),
        ({"messages": [USER, ANSWER], "tools": "f"}, "tools is a text, not a list"),
    ],
)
def test_a_bad_line_names_the_message_and_the_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        talk(record)


content = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": content},
    optional={"weight": st.sampled_from([0, 1])},
)


@given(st.lists(turns, max_size=8), st.booleans(), st.booleans())
def test_every_message_comes_through_unchanged_with_its_weight(
    listed: list[dict[str, Any]],
    users: bool,  # noqa: FBT001
    honour: bool,  # noqa: FBT001
) -> None:
    listed = [*listed, {"role": "assistant", "content": "the end", "weight": 1}]
    found = talk({"messages": listed}, train_users=users, honour_weights=honour)
    for message, (role, text, weight) in zip(listed, said(found), strict=True):
        usual = int(role == "assistant" or users)
        assert (role, text) == (message["role"], message["content"])
        assert weight == (message.get("weight", usual) if honour else usual)
    assert found.words_in == sum(len(message["content"].split()) for message in listed)


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "weight", "messages", "tools", "function", "type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "functions", "meta"]), json_values))
def test_no_json_at_all_raises_anything_but_a_reason(record: dict[str, Any]) -> None:
    with suppress(ValueError):
        talk(record)
