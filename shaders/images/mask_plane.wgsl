// y[i, j] = activation(x[channel, i, j]) / range{{ ", where the activation is softmax over the channels" if activation == "softmax" }}{{ ": 1 where x is `channel`, 0 elsewhere" if activation == "equal" }}
//
// One invocation a pixel. x has any strides. The host guarantees: count rows of y, and of x, lie within every binding.
{% extends "bases/pixels.wgsl" %}
{% block declarations %}
fn value(row: i32, column: i32) -> f32 {
  let place = params.base_x + row * params.row_stride + column * params.column_stride;
{% if activation == "equal" %}
  return select(0.0, 1.0, x[place] == {{ storage }}(params.channel));
{% else %}
  let logit = f32(x[place + params.channel * params.channel_stride]);
{% if activation == "sigmoid" %}
  // beyond these the result is 0 or 1, and exp would be beyond f32
  let mask = 1.0 / (1.0 + exp(-clamp(logit, -80.0, 80.0)));
{% elif activation == "softmax" %}
  var highest = logit;
  for (var c = 0; c < params.channels; c += 1) {
    highest = max(highest, f32(x[place + c * params.channel_stride]));
  }
  var total = 0.0;
  for (var c = 0; c < params.channels; c += 1) {
    total += exp(max(f32(x[place + c * params.channel_stride]) - highest, -80.0));
  }
  let mask = exp(max(logit - highest, -80.0)) / total;
{% else %}
  let mask = logit;
{% endif %}
  return mask / bitcast<f32>(params.divisor);
{% endif %}
}
{% endblock %}
