// y[i] = the position of the {{ "largest" if largest else "smallest" }} element of x along an axis, the {{ "last" if last else "first" }} of equal ones. NaN wins, as in NumPy.
//
// One invocation for each i. Elements are compared by integer keys, since WGSL may take NaN for granted to be absent.
// x has any strides. The host guarantees: extent > 0; count rows lie within every binding; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% block declarations %}
{% include "parts/key.wgsl" %}
{% endblock %}
{% block element %}
  var best = 0u;
  var position = 0;
  for (var k = 0; k < {{ extent }}; k += 1) {
    let candidate = key({{ element }});
    if (k == 0 || candidate {{ ">" if largest else "<" }}{{ "=" if last else "" }} best) {
      best = candidate;
      position = k;
    }
  }
  {{ target }} = position;
{% endblock %}
