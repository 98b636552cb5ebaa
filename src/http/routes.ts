/** The routes that every HTTP face of Breakwater documents alike. */
import { createRoute, z } from '@hono/zod-openapi';
import { json } from './shapes.ts';

export const HEALTH_ROUTE = createRoute({
  method: 'get',
  path: '/healthz',
  operationId: 'health',
  summary: 'Is the process alive?',
  responses: { 200: json(z.object({ status: z.literal('ok') }), 'Yes.') },
});

export const OPENAPI_ROUTE = createRoute({
  method: 'get',
  path: '/openapi.json',
  operationId: 'openApi',
  summary: 'This document',
  responses: { 200: json(z.looseObject({}), 'OpenAPI 3.1.') },
});
