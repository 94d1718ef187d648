{# The next step of a convolution along k (parts/conv_begin.wgsl). #}
      w_at += {{ bk }} * w_row;
{% if dense %}
{% for l in range(a_loads) %}
      x_at{{ l }} += {{ k4s }};
{% endfor %}
{% elif x_vec == 4 %}
      channel += {{ bk }};
      while (channel >= params.channels) {
        channel -= params.channels;
        tap_x += 1;
        if (tap_x == params.kernel_x) {
          tap_x = 0;
          tap_y += 1;
        }
      }
{% else %}
      k += {{ bk }};
{% endif %}
