use super::*;

const CONFIG: &str = "
receivers: { otlp: { protocols: { grpc: } } }
processors:
  batch:
  tail_sampling: { policies: [{ name: all, type: always_sample }] }
  adaptive_tail_sampling: { rules: [{ name: none, sampler: { type: drop } }] }
exporters: { debug: , sqlite: { path: a.db }, sqlite/2: { path: b.db } }
service:
  pipelines:
    logs: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
    traces: { receivers: [otlp], processors: [tail_sampling, batch], exporters: [debug] }
    traces/2: { receivers: [otlp], processors: [adaptive_tail_sampling], exporters: [sqlite/2] }
";

fn parse(text: &str) -> Config {
    Config::parse("f", text, &|_| None).unwrap().0
}

fn chosen(config: &Config, pipeline: Option<&str>) -> Result<String, String> {
    let asked = choose(config, pipeline);
    asked.map(|asked| asked.id.to_string()).map_err(|error| error.to_string())
}

#[test]
fn the_pipeline_has_to_be_named_where_several_sample() {
    let config = parse(CONFIG);
    let said = "several pipelines have a tail sampler: name one with --pipeline: traces, traces/2";
    assert_eq!(chosen(&config, None), Err(said.to_owned()));
    assert_eq!(chosen(&config, Some("traces")), Ok("tail_sampling".to_owned()));
    assert_eq!(chosen(&config, Some("traces/2")), Ok("adaptive_tail_sampling".to_owned()));
    let said = "there is no pipeline `logs` with a tail sampler; these have one: traces, traces/2";
    assert_eq!(chosen(&config, Some("logs")), Err(said.to_owned()));
    let one = parse(&CONFIG.replace("[adaptive_tail_sampling]", "[batch]"));
    assert_eq!(chosen(&one, None), Ok("tail_sampling".to_owned()));
    let none = one_without(&one);
    assert_eq!(chosen(&none, None), Err("no pipeline has a tail sampler".to_owned()));
}

fn one_without(config: &Config) -> Config {
    let mut config = config.clone();
    config.service.pipelines.values_mut().for_each(|pipeline| pipeline.processors.clear());
    config
}

#[test]
fn a_pipelines_own_store_is_looked_into_first() {
    let config = parse(CONFIG);
    let asked = choose(&config, Some("traces/2")).unwrap();
    let stores = stores(&config, asked.pipeline);
    assert_eq!(stores, [Path::new("b.db"), Path::new("a.db")]);
}

#[test]
fn a_trace_that_is_nowhere_is_named_with_the_places() {
    let id = TraceId([0xab; 16]);
    let places = [Path::new("a.db"), Path::new("b.db")];
    let nowhere = find(&places, id, |_, _| Ok(Vec::new())).unwrap_err().to_string();
    assert_eq!(nowhere, format!("there is no trace {} in a.db, b.db", "ab".repeat(16)));
    let here = find(&places, id, |place, _| {
        let request = Request { bytes: Default::default(), spans: 2 };
        Ok(if place == Path::new("b.db") { vec![request] } else { Vec::new() })
    });
    assert_eq!(here.unwrap().1, "b.db");
}
