// y[k] = x[0] {{ infix }} … {{ infix }} x[k] along an axis{{ ", without x[k] itself" if exclusive else "" }}{{ ", from its end" if reverse else "" }}.
//
// One invocation for each line along the axis, in order. Tensors have any strides.
// The host guarantees: count rows lie within every binding; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block element %}
  var total = {{ neutral }};
  for (var step = 0; step < {{ extent }}; step += 1) {
    let k = {{ extent ~ " - 1 - step" if reverse else "step" }};
{% if exclusive %}
    {{ target }} = {{ item }}(total);
    total = total {{ infix }} {{ element }};
{% else %}
    total = total {{ infix }} {{ element }};
    {{ target }} = {{ item }}(total);
{% endif %}
  }
{% endblock %}
