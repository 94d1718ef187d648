{# Hands an invocation's sums to store(), four columns at a time, where m lies `inside`: `row` and `part` are its arguments
   before and behind the column and the sums. #}
{% for i in range(tm) %}
  {
    let m = tile_m + {{ '(own_m + ' ~ i // 4 * rows ~ ') * 4 + ' ~ i % 4 if turned else 'own_m + ' ~ i * rows }};
    if ({{ inside }}) {
{% for j in range(tn4) %}
      store({{ row }}, tile_n + (own_n4 + {{ j * columns }}) * 4, c{{ i }}_{{ j }}{{ part }});
{% endfor %}
    }
  }
{% endfor %}
