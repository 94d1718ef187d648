// y[i] = x[s(i)], or fill where `inside` does not hold: whatever takes each element of its result from one place.
//
// i is the position in y, one invocation an element. The statements compute s(i) from i, and from tensors of indices
// where there are any. x and y have any strides; float types convert.
// The host guarantees: where `inside` holds, s(i) lies in x, for which indices from the data are clamped; count rows lie
// within every binding; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block element %}
{% for line in lines %}
  {{ line }}
{% endfor %}
{% if inside %}
  var value = {{ fill }};
  if ({{ inside }}) {
    value = {{ source }};
  }
{% else %}
  let value = {{ source }};
{% endif %}
  {{ target }} = {{ item }}(value);
{% endblock %}
