// The k {{ "largest" if largest else "smallest" }} elements of x along an axis in order, equal ones by position, and where they stood.
//
// One invocation for each element of x: how many others come before it is its place in the result, if that is below k.
// This takes extent² comparisons a line, but no order among invocations. NaN counts as the largest, as in NumPy's sort.
// Tensors have any strides. The host guarantees: count rows lie within every binding; the outputs overlap no operand.
{% extends "bases/elements.wgsl" %}
{% block declarations %}
{% include "parts/key.wgsl" %}
{% endblock %}
{% block element %}
  let value = {{ element }};
  let own = key(value);
  var place = 0;
  for (var k = 0; k < {{ extent }} && place < {{ k }}; k += 1) {
    let other = key({{ other }});
    if (other {{ ">" if largest else "<" }} own || (other == own && k < {{ position }})) {
      place += 1;
    }
  }
  if (place < {{ k }}) {
    {{ target }} = {{ item }}(value);
{% if indices %}
    {{ indices }} = {{ position }};
{% endif %}
  }
{% endblock %}
