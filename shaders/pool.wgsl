// y[o] = the join over the window positions t of x[o * stride + t * dilation - begin], of those that lie on x: the largest
// element{{ " and where it stands" if arg else "" }}, or a sum of terms; then an expression of that.
//
// One invocation for each item of y, of {{ vec }} channel(s). The other positions of x are those of y. Tensors have any
// strides. Terms are summed in f32.
// The host guarantees: count rows lie within every binding, and their windows within that of x; y overlaps no operand.
{% extends "bases/elements.wgsl" %}
{% macro joined(tap) %}
  {{ "if (" ~ tap.inside ~ ") " if tap.inside }}{
    let v = {{ tap.element }};
{% if arg %}
    // the first element on x wins, even where it is the lowest value, and so does the first NaN
    if (place < 0 || {{ "((v > total || is_nan(v)) && !is_nan(total))" if type == "F" else "v > total" }}) {
      total = v;
      place = {{ tap.place }};
    }
{% else %}
    total = {{ join }};
{% endif %}
  }
{% endmacro %}
{% block element %}
{% for move in moves %}
  let o{{ move.axis }} = {{ move.position }} * {{ move.stride }} - {{ move.begin }};
{% endfor %}
  var total = {{ start }};
{% if arg %}
  var place = -1;
{% endif %}
{% for move in moves if looped %}
  for (var t{{ move.axis }} = 0; t{{ move.axis }} < {{ move.kernel }}; t{{ move.axis }} += 1) {
{% endfor %}
{% for tap in taps %}
{{ joined(tap) }}
{%- endfor %}
{% for move in moves if looped %}
  }
{% endfor %}
{% if counted %}
{% for move in moves if not move.whole %}
  var count{{ move.axis }} = 0;
  for (var t = 0; t < {{ move.kernel }}; t += 1) {
    let s = o{{ move.axis }} + t * {{ move.dilation }};
    count{{ move.axis }} += select(0, 1, s >= {{ move.low }} && s < {{ move.high }});
  }
{% endfor %}
  // a window on padding alone has the sum 0, and the mean 0
  let count = f32(max(1, {{ counted }}));
{% endif %}
  {{ target }} = {{ result }};
{% if arg %}
  {{ arg }} = select(place + ({{ plane }}), -1, place < 0);
{% endif %}
{% endblock %}
