// y[place(indices[i])] = x[i], one element of x an invocation, over the zeros that y holds already.
//
// An index counts the elements of `shape` in row-major order, negative ones from the back; y, by strides, may have
// more positions on an axis, or fewer: what stands there then falls away, as do indices outside. Of two that are equal
// either is kept.
// The host guarantees: count rows lie within every binding; y is bound whole.
{% extends "bases/elements.wgsl" %}
{% block element %}
  var place = i32({{ index }});
  place += select(0, {{ size }}, place < 0);
  if (place < 0 || place >= {{ size }}) {
    return;
  }
{% for axis in range(shape | length - 1, -1, -1) %}
  let o{{ axis }} = place % {{ shape[axis] }};
  place = place / {{ shape[axis] }};
  if (o{{ axis }} >= {{ extents[axis] }}) {
    return;
  }
{% endfor %}
  {{ place }} = {{ item }}({{ source }});
{% endblock %}
