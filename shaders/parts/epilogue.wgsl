{# The body of store(m, group, n, sums): bias, the fused element-wise chain, and the write, for four channels from n on of pixel
   m. What it reads lies by pixel m and channel c, at a stride for each; a stride of 0 repeats. `vector` says that channels
   come in fours that lie side by side and aligned in all of them. `targets` are what is written: y, and beside it the part
   of a concatenation. Where `stored` is a type, four of y, it is returned. #}
  if (n >= params.n) {
    return{{ ' ' ~ stored ~ '()' if stored | default('') }};
  }
{% if vector %}
  let c = group * params.n + n;
  let raw = sums;
{% for line in lines %}
  {{ line }}
{% endfor %}
  let result = {{ result }};
{% for target in targets %}
  {{ target }}[params.base_{{ target }} + m * (params.pixel_{{ target }} / 4) + c / 4] = result;
{% endfor %}
{% if stored | default('') %}
  return result;
{% endif %}
{% else %}
  var four = sums;
  for (var e = 0; e < 4; e += 1) {
    if (n + e < params.n) {
      let c = group * params.n + n + e;
      let raw = four[e];
{% for line in lines %}
      {{ line }}
{% endfor %}
      let result = {{ result }};
{% for target in targets %}
      {{ target }}[params.base_{{ target }} + m * params.pixel_{{ target }} + c] = result;
{% endfor %}
    }
  }
{% endif %}
