{# An invocation's part of a tile (bases/tile.wgsl), and its sums. Named accumulators, since compilers keep arrays in memory. #}
  // this invocation's part of the tile: rows {{ 'in fours, as its columns' if turned else 'm, m + ' ~ rows ~ ', …' }}, and columns 4 n4, 4 (n4 + {{ columns }}), …
  let own_m = local / {{ columns }};
  let own_n4 = local % {{ columns }};
{% for i in range(tm) %}
{% for j in range(tn4) %}
  var c{{ i }}_{{ j }} = {{ S }}();
{% endfor %}
{% endfor %}
