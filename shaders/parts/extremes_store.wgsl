{# The joined extremes become part p of y: for each element of an item that lies in its place, the least and the largest. #}
  if (local_index == 0u) {
{% for e in range(vec) %}
    y[params.base_y + (p * {{ vec }} + {{ e }}) * 2] = least[0]{{ '.' ~ 'xyzw'[e] if vec == 4 }};
    y[params.base_y + (p * {{ vec }} + {{ e }}) * 2 + 1] = largest[0]{{ '.' ~ 'xyzw'[e] if vec == 4 }};
{% endfor %}
  }
