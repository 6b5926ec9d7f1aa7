// The messages of the API that the page reads: see proto/trellis/v1. Whole numbers of 64 bits are strings.

export type Count = string | undefined

export interface Value { number?: number | string; integer?: string; text?: string; boolean?: boolean }
export interface Parameters { max_epochs?: number; seed?: number; values?: Record<string, Value> }

export interface Range { from?: number; to?: number; count: number }
export interface Axis {
  numbers?: number[]; integers?: string[]; texts?: string[]; booleans?: boolean[]
  linear?: Range; log10?: Range; log2?: Range
  /** A bound of 0 is left out. */
  step?: { from?: number; to?: number; by: number }
}
export interface Grid { axes?: Record<string, Axis> }
export interface Objective { metric?: string; direction?: string; of?: string; epochs?: number }
export interface StudySpec {
  name?: string; data?: string; model?: string; grid?: Grid[]; seeds?: Axis; objective?: Objective; split?: { train: number; validation: number }; order?: string
  budget?: { trials?: Count; epochs?: Count; time?: string }; where?: string
  program?: { command?: string[]; deterministic?: boolean }; resources?: { cpus?: number; memory?: Count; gpus?: number; time?: string }; workers?: Record<string, string>; fixed?: Record<string, Value>; [other: string]: unknown
}
export interface Progress {
  trials?: Count; trials_running?: Count; trials_succeeded?: Count; trials_failed?: Count; trials_canceled?: Count
  trials_pruned?: Count; trials_diverged?: Count
  runs?: Count; runs_running?: Count; runs_succeeded?: Count; runs_failed?: Count; runs_canceled?: Count; runs_pruned?: Count
  epochs?: Count; epochs_left?: Count; epochs_shared?: Count; epochs_alone?: Count
  training_seconds?: number; seconds_shared?: number; audits_due?: Count
}
export interface Estimate { expected?: number; low?: number; high?: number }
export interface Forecast {
  epochs?: Estimate; seconds?: Estimate; confidence?: number; slots?: number; seconds_per_epoch?: number
  alternatives?: { slots?: number; seconds?: number }[]; basis?: ForecastBasis
}
export interface ForecastBasis {
  epochs?: Count; other_epochs?: Count; other_studies?: number; epoch_time?: boolean; runs_ended?: Count; runs_stopped?: Count
  runs_diverged?: Count; runs_begun?: Count; other_runs?: Count; after_others?: boolean; unsuited?: boolean; scaled_share?: number
}
export interface WaitingFor { reason?: string; message?: string; memory?: Count; largest_memory?: Count }
export interface Plan {
  trials?: Count; runs?: Count; epochs?: Count; epochs_alone?: Count; runs_shared?: Count; epochs_shared?: Count; epochs_again?: Count
  seconds_shared?: number; forecast?: Forecast; waiting_for?: WaitingFor; left_out?: Count; smallest?: ModelSize; largest?: ModelSize
}
export interface ModelSize { weights?: Count; operations?: number; memory?: Count }
export interface ExtensionPlan {
  trials?: Count; runs?: Count; runs_lengthened?: Count; runs_reopened?: Count
  epochs?: Count; epochs_before?: Count; epochs_again?: Count; forecast?: Forecast; waiting_for?: WaitingFor
  smallest?: ModelSize; largest?: ModelSize
}
export interface Principal { name?: string; role?: string }
export interface Study {
  name: string; spec: StudySpec; state: string; create_time?: string; end_time?: string; progress?: Progress
  forecast?: Forecast; waiting_for?: WaitingFor; grid_trials?: Count; create_index?: Count; modify_index?: Count
  creator?: Principal; data_set?: { name?: string; digest?: string; train_images?: number }; extensions?: unknown[]; earlier_specs?: StudySpec[]; spec_history?: unknown
  refuted?: Refutation[]
}
/** Refutation is a declaration of a program that an audit has refuted, with the trainings of a run that differ. */
export interface Refutation { declaration?: string; trial?: Count; epoch?: number; trainings?: Retraining[]; studies?: string[] }
export interface Retraining { worker?: string; machine?: string; max_epochs?: number; after?: number; values?: Record<string, number | string>; ended?: boolean }
export interface Trial {
  study: string; index?: Count; parameters?: Parameters; run?: string; state: string; objective?: number | string
  best_epoch?: number; epochs?: number; test_loss?: number | string; error?: string
  train_loss?: (number | string)[]; validation_loss?: (number | string)[]
  metrics?: Record<string, number | string>; test_metrics?: Record<string, number | string>
  epoch_metrics?: Record<string, Series>
}
export interface Series { values?: (number | string)[]; missing?: number[] }
export interface Interval { low?: number; high?: number }
export interface Repetition { seed?: number; trial?: Count; objective?: number | string }
export interface Configuration {
  parameters?: Parameters; rank?: Count; repetitions?: Repetition[]; mean?: number | string; deviation?: number
  interval?: Interval; difference?: number; difference_interval?: Interval; contender?: boolean; test_mean?: number
}
export interface Verdict {
  confidence?: number; configurations?: Count; best?: Configuration; contenders?: Configuration[]; contenders_total?: Count
  seeds?: number; settled?: boolean; advice?: Advice
}
export interface Advice { kind?: string; seeds_needed?: number; beyond?: boolean; add_seeds?: number[] }
export interface Best { trial?: Trial; runner_up?: Trial; study?: Study; verdict?: Verdict }
export interface ValueEffect { value?: Value; mean?: number; best?: number; configurations?: Count }
export interface AxisEffect { axis: string; importance?: number; total?: number; values?: ValueEffect[] }
export interface Importance {
  axes?: AxisEffect[]; interactions?: { first: string; second: string; importance?: number }[]; rest?: number
  configurations?: Count; left_out?: Count; logarithmic?: boolean; exact?: boolean; sampled_from?: Count
}
export interface Report {
  study?: Study; digest?: string; trained?: Count; prefixes?: Count; early_stopped?: Count; collapsed?: Count; shared?: Count
  pruned?: Count; failed?: Count; canceled?: Count; open?: Count; diverged?: Count
  epochs_trained?: Count; epochs_shared?: Count; epochs_alone?: Count; seconds_trained?: number; seconds_saved?: number
  failures?: { run: string; parameters?: Parameters; error?: string; trials?: string[] }[]; failures_total?: Count
  verdict?: Verdict
}
export interface Training { attempt?: Count; worker?: string; machine?: string; after?: number; until?: number }
export interface Failure { attempt?: Count; worker?: string; class?: string; message?: string; epochs?: number }
export interface Checkpoint { epoch?: number; sha256?: string; size?: Count; program?: boolean }
export interface Run {
  study: string; id: string; parameters?: Parameters; milestones?: number[]; state: string; attempt?: Count; worker?: string; attempt_epochs?: number
  epochs?: number; validation_loss?: number | string; objective?: number | string; best_epoch?: number; stop_reason?: string
  failures?: Failure[]; error?: string; training_seconds?: number; first_trial?: Count; checkpoints?: Checkpoint[]
  shared_epochs?: number; shared_from?: string; trainings?: Training[]
  outputs?: { attempt?: Count; worker?: string; size?: Count }[]
}
export interface Worker {
  name: string; state: string; slots?: number; runs?: number; version?: string; processor?: string; create_time?: string
  update_time?: string; machine?: string; avoided?: { reason?: string; study?: string; message?: string }[]
  capacity?: { cpus?: number; memory?: Count; gpus?: { id?: string; model?: string }[]; programs?: boolean }
  labels?: Record<string, string>; study?: string
}
export interface Event {
  index?: Count; time?: string; principal?: { name?: string; role?: string }; address?: string; method?: string
  subject?: string; number?: Count
}
export interface PaperStage {
  study: string; model?: string; after?: string[]; create_index?: Count; state?: string; trials?: Count; runs?: Count; epochs?: Count
  seconds?: number; best?: string; digest?: string; command?: string
}
export interface PaperFigure { number: number; caption?: string; picture?: { sha256: string; size?: Count } }
export interface PaperResult {
  what: string; paper?: string; ours?: string; difference?: string; command?: string; note?: string; pending?: boolean
}
export interface PaperTable { columns?: string[]; rows?: { what: string; values?: string[]; note?: string }[]; command?: string }
export interface PaperSection { title?: string; text?: string; figures?: PaperFigure[]; results?: PaperResult[]; table?: PaperTable }
export interface PaperReport {
  name: string; title: string; summary?: string; state?: string; stages?: PaperStage[]; sections?: PaperSection[]
  environment?: { name: string; value?: string }[]; creator?: Principal; create_time?: string
  update_time?: string; renewal?: string
}
export interface Model { name: string; summary?: string; loss?: string }

export interface Basis { modify_index?: Count; read?: Count; total?: Count; met?: Count; exact?: boolean }
export interface ChartAxis { name: string; values?: Value[]; logarithmic?: boolean; levels?: number }
export interface Curves {
  basis?: Basis; metric?: string; metrics?: string[]; epochs_per_point?: number; trials?: string[]; epochs?: number[]; values?: string
  objectives?: string; states?: string; open_total?: Count; keep?: string; low?: number | string; high?: number | string; levels?: string
}
export interface Points {
  basis?: Basis; axes?: ChartAxis[]; trials?: string[]; levels?: string[]; objectives?: string; ranks?: string[]
}
export interface HeatMap {
  basis?: Basis; x?: ChartAxis; y?: ChartAxis; columns?: number; rows?: number; values?: string; counts?: string; diverged?: string
  best?: string[]
}
export interface Moment { index?: Count; time?: string; within_seconds?: number }
export interface History {
  basis?: Basis; steps?: { trial?: Count; objective?: number | string; done?: Count; at?: Moment }[]; steps_total?: Count
  done?: { done?: Count; at?: Moment }[]
}
export interface Distribution {
  basis?: Basis; edges?: number[]; counts?: string[]; below?: Count; above?: Count; diverged?: Count; finite?: Count; quartiles?: number[]
}
export interface Coverage {
  basis?: Basis; columns?: number; rows?: number; indices?: Count; x?: ChartAxis; y?: ChartAxis
  layers?: { state: string; counts?: string; total?: Count }[]
}
export interface Bar {
  worker?: number; slot?: number; from?: string; to?: string; attempt?: Count; attempts?: number; seconds?: number; run?: string
  trial?: Count; end?: string; failed?: number; estimated?: boolean; epochs?: number
}
export interface TimeLine {
  basis?: Basis; workers?: string[]; bars?: Bar[]; from?: string; to?: string; within_seconds?: number; workers_total?: number
}
