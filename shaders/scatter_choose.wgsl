// y[i] = the update that claimed i (scatter_claim.wgsl), or x[i] where none did.
//
// One invocation for each element of y. Tensors have any strides; float types convert.
// The host guarantees: what claimed holds is 0 or the number of an update plus 1; count rows lie within every binding; y
// overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block element %}
  let claim = {{ claim }};
  if (claim == 0u) {
    {{ target }} = {{ item }}({{ source }});
  } else {
    let number = i32(claim) - 1;
    {{ target }} = {{ item }}({{ update }});
  }
{% endblock %}
