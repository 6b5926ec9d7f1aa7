// Actions name a study. Between a question and its answer, another may have taken the name.
import { get, Problem } from './api'
import type { Study } from './types'

/** stillThere throws unless the study is the one that somebody was asked about. */
export async function stillThere(asked: Study): Promise<void> {
  const { study } = await get<{ study: Study }>('/studies/' + encodeURIComponent(asked.name))
  if (study.create_index === asked.create_index) return
  throw new Problem(412, 'Another study', 'The study that you were asked about was deleted, and another one has its name now. Nothing was done.', {})
}
